;; Its `_start` takes a parameter, which a command must not.
(module
  (memory (export "memory") 1)
  (func (export "_start") (param i32)))
