;; Has a memory that threads share.
(module
  (memory (export "memory") 1 2 shared)
  (func (export "_start")
    (drop (i32.atomic.load (i32.const 0)))))
