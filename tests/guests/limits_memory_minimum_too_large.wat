;; Declares a memory of 1 GiB to begin with.
(module
  (memory (export "memory") 16384)
  (func (export "_start")))
