;; Has a memory of 100 bytes and grows it by one byte.
(module
  (memory (export "memory") 100 (pagesize 1))
  (func (export "_start")
    (if (i32.ne (memory.grow (i32.const 1)) (i32.const 100)) (then unreachable))
    (i32.store8 (i32.const 100) (i32.const 1))
    (if (i32.ne (memory.size) (i32.const 101)) (then unreachable))))
