;; Catches exceptions and keeps all of them, until its heap or its table cannot grow.
(module
  (tag $thrown (param i64))
  (memory (export "memory") 1)
  (table $kept 0 exnref)
  (func $throw (throw $thrown (i64.const 7)))
  (func (export "_start")
    (loop $more
      (block $caught (result exnref)
        (try_table (catch_all_ref $caught) (call $throw))
        unreachable)
      (table.grow $kept (i32.const 1))
      (br_if $more (i32.ne (i32.const -1))))
    unreachable))
