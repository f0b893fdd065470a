;; Declares a table with a minimum of 50 million elements, 400 MB.
(module
  (memory (export "memory") 1)
  (table 50000000 funcref)
  (func (export "_start")))
