;; Counts in a memory of 64-bit addresses for ever.
(module
  (memory (export "memory") i64 1)
  (func (export "_start")
    (loop $for_ever
      (i64.store (i64.const 0) (i64.add (i64.load (i64.const 0)) (i64.const 1)))
      (br $for_ever))))
