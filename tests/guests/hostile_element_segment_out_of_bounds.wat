;; Has an element segment that starts beyond the end of its table.
(module
  (memory (export "memory") 1)
  (table 2 funcref)
  (elem (i32.const 2) func $start)
  (func $start (export "_start")))
