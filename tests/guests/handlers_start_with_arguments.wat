;; Its `_start` wants an argument, which no command does.
(module
  (memory (export "memory") 1)
  (func (export "_start") (param i32)))
