;; One component throws in a call of another, which tries to catch it. Exceptions end at the boundary of a component.
(component
  (component $thrower
    (core module $code
      (tag $thrown)
      (func (export "throw") (throw $thrown)))
    (core instance $code (instantiate $code))
    (func (export "throw") (canon lift (core func $code "throw"))))
  (component $catcher
    (import "throw" (func $throw))
    (core func $throw (canon lower (func $throw)))
    (core module $code
      (import "thrower" "throw" (func $throw))
      (func (export "run") (result i32)
        (block $caught
          (try_table (catch_all $caught) (call $throw)))
        (i32.const 0)))
    (core instance $code
      (instantiate $code (with "thrower" (instance (export "throw" (func $throw))))))
    (func (export "run") (result (result)) (canon lift (core func $code "run"))))
  (instance $thrower (instantiate $thrower))
  (instance $catcher (instantiate $catcher (with "throw" (func $thrower "throw"))))
  (instance $exported (export "run" (func $catcher "run")))
  (export "wasi:cli/run@0.2.0" (instance $exported)))
