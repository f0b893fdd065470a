;; Grows its memory by 3 GiB in one step, and traps when that fails.
(module
  (memory (export "memory") 1)
  (func (export "_start")
    (if (i32.eq (memory.grow (i32.const 49152)) (i32.const -1))
      (then unreachable))))
