;; Writes to a memory with 64-bit addresses, grows it, and reads at its new end.
(module
  (memory (export "memory") i64 1)
  (func (export "_start")
    (i64.store (i64.const 100) (i64.const 7))
    (if (i64.ne (memory.grow (i64.const 1)) (i64.const 1)) (then unreachable))
    (if (i64.ne (i64.load (i64.const 131064)) (i64.const 0)) (then unreachable))
    (if (i64.ne (i64.load (i64.const 100)) (i64.const 7)) (then unreachable))))
