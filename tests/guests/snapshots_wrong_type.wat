;; The function that initialises has a parameter.
(module
  (memory (export "memory") 1)
  (func (export "wizer-initialize") (param i32))
  (func (export "_start")))
