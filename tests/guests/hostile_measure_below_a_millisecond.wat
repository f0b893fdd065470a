;; Reads the clocks as fast as it can for 20 ms; exits with 1 if a clock ever returns a fraction of a millisecond.
(module
  (import "wasi_snapshot_preview1" "clock_time_get" (func $clock_time_get (param i32 i64 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 1)
  (func $now (param $clock i32) (result i64)
    (drop (call $clock_time_get (local.get $clock) (i64.const 1) (i32.const 8)))
    (if (i64.ne (i64.rem_u (i64.load (i32.const 8)) (i64.const 1000000)) (i64.const 0))
      (then (call $proc_exit (i32.const 1))))
    (i64.load (i32.const 8)))
  (func (export "_start")
    (local $begun i64)
    (local.set $begun (call $now (i32.const 1)))
    (loop $again
      (drop (call $now (i32.const 0)))
      (br_if $again (i64.lt_u (i64.sub (call $now (i32.const 1)) (local.get $begun)) (i64.const 20000000))))))
