;; Counts forever in a memory with 64-bit addresses.
(module
  (memory (export "memory") i64 1)
  (func (export "_start")
    (loop $forever
      (i64.store (i64.const 0) (i64.add (i64.load (i64.const 0)) (i64.const 1)))
      (br $forever))))
