;; Two functions tail-call each other forever, directly and through a reference.
(module
  (type $step (func (param i64)))
  (memory (export "memory") 1)
  (elem declare func $one)
  (func $one (type $step) (return_call $two (i64.add (local.get 0) (i64.const 1))))
  (func $two (type $step) (return_call_ref $step (i64.add (local.get 0) (i64.const 1)) (ref.func $one)))
  (func (export "_start") (return_call $one (i64.const 0))))
