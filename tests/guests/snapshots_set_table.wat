;; Changes its table in a function, which a snapshot would not keep.
(module
  (memory (export "memory") 1)
  (table $table 1 funcref)
  (elem declare func $start)
  (func (export "wizer-initialize") (table.set $table (i32.const 0) (ref.func $start)))
  (func $start (export "_start")))
