;; Needs two memories, which the default profile leaves off.
(module
  (memory (export "memory") 1)
  (memory 1)
  (func (export "_start")))
