;; Calls itself 40,000 times, one call inside the other, and exits normally.
(module
  (memory (export "memory") 1)
  (func $down (param i64) (result i64)
    (if (result i64) (i64.eqz (local.get 0))
      (then (i64.const 0))
      (else (i64.add (call $down (i64.sub (local.get 0) (i64.const 1))) (local.get 0)))))
  (func (export "_start")
    (drop (call $down (i64.const 40000)))))
