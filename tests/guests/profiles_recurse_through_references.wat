;; Calls itself forever through a reference that is not a tail call.
(module
  (type $step (func (param i64) (result i64)))
  (memory (export "memory") 1)
  (elem declare func $down)
  (func $down (type $step)
    (i64.add (call_ref $step (i64.add (local.get 0) (i64.const 1)) (ref.func $down)) (local.get 0)))
  (func (export "_start") (drop (call $down (i64.const 0)))))
