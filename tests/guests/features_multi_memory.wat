;; Copies from one memory to another.
(module
  (memory (export "memory") 1)
  (memory $other 1)
  (data (memory $other) (i32.const 8) "\07")
  (func (export "_start")
    (memory.copy 0 $other (i32.const 0) (i32.const 8) (i32.const 1))
    (if (i32.ne (i32.load8_u (i32.const 0)) (i32.const 7)) (then unreachable))))
