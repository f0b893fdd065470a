;; Needs 64-bit memories, which are off by default.
(module
  (memory (export "memory") i64 1)
  (func (export "_start")))
