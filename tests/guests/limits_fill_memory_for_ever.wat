;; Overwrites 64 MiB for ever, one long instruction at a time.
(module
  (memory (export "memory") 1024)
  (func (export "_start")
    (loop $for_ever
      (memory.fill (i32.const 0) (i32.const 1) (i32.const 67108864))
      (br $for_ever))))
