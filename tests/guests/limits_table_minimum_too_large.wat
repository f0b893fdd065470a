;; Declares a table of 50 million elements, 400 MB, to begin with.
(module
  (memory (export "memory") 1)
  (table 50000000 funcref)
  (func (export "_start")))
