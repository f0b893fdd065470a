;; Throws ten times over 2,000 calls, catches the exception at the top, and sees that the stack is free again.
(module
  (tag $thrown (param i32))
  (memory (export "memory") 1)
  (func $down (param $depth i32) (result i32)
    (if (i32.eqz (local.get $depth)) (then (throw $thrown (i32.const 41))))
    (i32.add (call $down (i32.sub (local.get $depth) (i32.const 1))) (i32.const 1)))
  (func $once (result i32)
    (block $caught (result i32)
      (try_table (catch $thrown $caught) (drop (call $down (i32.const 2000))))
      unreachable))
  (func (export "_start") (local $left i32)
    (local.set $left (i32.const 10))
    (loop $more
      (if (i32.ne (call $once) (i32.const 41)) (then unreachable))
      (local.set $left (i32.sub (local.get $left) (i32.const 1)))
      (br_if $more (local.get $left)))))
