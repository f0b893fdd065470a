;; Throws exceptions and catches them, forever.
(module
  (tag $thrown (param i64))
  (memory (export "memory") 1)
  (func $throw (throw $thrown (i64.const 7)))
  (func (export "_start")
    (loop $more
      (block $caught (result i64)
        (try_table (catch $thrown $caught) (call $throw))
        unreachable)
      drop
      (br $more))))
