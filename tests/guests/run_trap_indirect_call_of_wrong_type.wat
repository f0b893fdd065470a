;; Calls a table element with the wrong signature.
(module
  (memory (export "memory") 1)
  (table 1 funcref)
  (elem (i32.const 0) $takes_nothing)
  (type $takes_one (func (param i32)))
  (func $takes_nothing)
  (func (export "_start")
    (call_indirect (type $takes_one) (i32.const 1) (i32.const 0))))
