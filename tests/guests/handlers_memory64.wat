;; Uses 64-bit memories, which an operator can turn off.
(module
  (memory (export "memory") i64 1)
  (func (export "_start")))
