;; Catches and throws again on each of 2,000 levels, forever.
(module
  (tag $thrown)
  (memory (export "memory") 1)
  (func $down (param $depth i32)
    (block $caught (result exnref)
      (if (i32.eqz (local.get $depth)) (then (throw $thrown)))
      (try_table (catch_all_ref $caught) (call $down (i32.sub (local.get $depth) (i32.const 1))))
      unreachable)
    throw_ref)
  (func (export "_start")
    (loop $more
      (block $caught
        (try_table (catch_all $caught) (call $down (i32.const 2000))))
      (br $more))))
