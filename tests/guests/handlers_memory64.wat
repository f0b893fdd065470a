;; Needs 64-bit memories, which the default profile leaves off.
(module
  (memory (export "memory") i64 1)
  (func (export "_start")))
