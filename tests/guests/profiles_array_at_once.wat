;; Allocates one array of 256 MiB.
(module
  (type $numbers (array (mut i64)))
  (memory (export "memory") 1)
  (func (export "_start")
    (drop (array.new $numbers (i64.const 1) (i32.const 33554432)))))
