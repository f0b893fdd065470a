;; Needs two memories, which are off by default.
(module
  (memory (export "memory") 1)
  (memory 1)
  (func (export "_start")))
