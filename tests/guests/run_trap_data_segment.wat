;; Has a data segment beyond the end of its memory, so that instantiation fails.
(module
  (memory (export "memory") 1)
  (data (i32.const 65535) "two")
  (func (export "_start")))
