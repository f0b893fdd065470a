;; Computes without end in the initialisation.
(module
  (memory (export "memory") 1)
  (func (export "wizer-initialize") (loop (br 0)))
  (func (export "_start")))
