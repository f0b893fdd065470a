;; A reactor: its functions work after `_initialize` only.
(module
  (memory (export "memory") 1)
  (global $ready (mut i32) (i32.const 0))
  (func (export "_initialize")
    (global.set $ready (i32.const 41)))
  (func (export "next") (result i32)
    (global.set $ready (i32.add (global.get $ready) (i32.const 1)))
    (global.get $ready)))
