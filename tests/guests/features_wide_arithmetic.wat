;; Carries from the low half of a 128-bit sum to the high half.
(module
  (func (export "_start") (local $high i64)
    (i64.add128 (i64.const -1) (i64.const 0) (i64.const 1) (i64.const 0))
    (local.set $high)
    (if (i64.ne (i64.const 0)) (then unreachable))
    (if (i64.ne (local.get $high) (i64.const 1)) (then unreachable))))
