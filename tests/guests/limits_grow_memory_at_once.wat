;; Asks for 3 GiB at one stroke, and traps when it is denied.
(module
  (memory (export "memory") 1)
  (func (export "_start")
    (if (i32.eq (memory.grow (i32.const 49152)) (i32.const -1))
      (then unreachable))))
