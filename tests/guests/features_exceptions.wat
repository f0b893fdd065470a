;; Throws an exception through two functions, catches it by its tag, and reads its value.
(module
  (tag $thrown (param i32))
  (tag $other)
  (memory (export "memory") 1)
  (func $thrower (throw $thrown (i32.const 41)))
  (func $between
    (block $caught (try_table (catch $other $caught) (call $thrower))))
  (func (export "_start")
    (block $caught (result i32)
      (try_table (catch $thrown $caught) (call $between))
      unreachable)
    (if (i32.ne (i32.const 41)) (then unreachable))))
