;; Waits until the end of time, until the year 1970 and for no time; exits with the number of the first step that fails.
(module
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll_oneoff (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 1)
  ;; Stores a clock subscription at 256 + 48 * $place. The flag 1 means that the time is absolute.
  (func $subscribe (param $place i32) (param $clock i32) (param $time i64) (param $flags i32)
    (local $at i32)
    (local.set $at (i32.add (i32.const 256) (i32.mul (local.get $place) (i32.const 48))))
    (i64.store (local.get $at) (i64.extend_i32_u (local.get $place)))
    (i32.store offset=16 (local.get $at) (local.get $clock))
    (i64.store offset=24 (local.get $at) (local.get $time))
    ;; Its precision is just as unusual.
    (i64.store offset=32 (local.get $at) (i64.const -1))
    (i32.store16 offset=40 (local.get $at) (local.get $flags)))
  (func $must (param $holds i32) (param $step i32)
    (if (i32.eqz (local.get $holds)) (then (call $proc_exit (local.get $step)))))
  (func $poll (param $count i32) (result i32)
    (call $poll_oneoff (i32.const 256) (i32.const 1024) (local.get $count) (i32.const 8)))
  (func (export "_start")
    ;; Of the end of time and the year 1970, only the latter is in the past.
    (call $subscribe (i32.const 0) (i32.const 1) (i64.const -1) (i32.const 0))
    (call $subscribe (i32.const 1) (i32.const 0) (i64.const 0) (i32.const 1))
    (call $must (i32.eqz (call $poll (i32.const 2))) (i32.const 1))
    (call $must (i32.eq (i32.load (i32.const 8)) (i32.const 1)) (i32.const 2))
    (call $must (i64.eq (i64.load (i32.const 1024)) (i64.const 1)) (i32.const 3))
    ;; Waiting for no time returns at once.
    (call $subscribe (i32.const 0) (i32.const 1) (i64.const 0) (i32.const 0))
    (call $must (i32.eqz (call $poll (i32.const 1))) (i32.const 4))))
