;; Allocates an array of 32 GiB, which no heap can have.
(module
  (type $numbers (array (mut i64)))
  (memory (export "memory") 1)
  (func (export "_start")
    (drop (array.new_default $numbers (i32.const -1)))))
