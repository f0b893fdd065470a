;; Throws an exception that nothing catches.
(module
  (tag $thrown (param i32 f64))
  (tag $other)
  (memory (export "memory") 1)
  (func $thrower (throw $thrown (i32.const 7) (f64.const 2.5)))
  (func $caller
    (block $caught
      (try_table (catch $other $caught) (call $thrower))))
  (func (export "_start") (call $caller)))
