;; Declares a memory with a minimum of 1 GiB.
(module
  (memory (export "memory") 16384)
  (func (export "_start")))
