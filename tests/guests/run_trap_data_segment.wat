;; Has a data segment that lies beyond the end of its memory, so that it cannot be instantiated.
(module
  (memory (export "memory") 1)
  (data (i32.const 65535) "two")
  (func (export "_start")))
