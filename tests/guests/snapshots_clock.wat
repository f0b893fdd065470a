;; Stores the wall clock of the initialisation, and exits with 0 if it stood at 1970 and that of the run does not.
(module
  (import "wasi_snapshot_preview1" "clock_time_get" (func $clock_time_get (param i32 i64 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "\01")
  (func (export "wizer-initialize")
    (drop (call $clock_time_get (i32.const 0) (i64.const 0) (i32.const 0)))
    ;; The monotonic clock must not be later than that of a run.
    (drop (call $clock_time_get (i32.const 1) (i64.const 0) (i32.const 8))))
  (func (export "_start")
    (if (i64.ne (i64.load (i32.const 0)) (i64.const 0)) (then (call $proc_exit (i32.const 1))))
    (if (i64.ne (i64.load (i32.const 8)) (i64.const 1)) (then (call $proc_exit (i32.const 2))))
    (drop (call $clock_time_get (i32.const 0) (i64.const 0) (i32.const 0)))
    (if (i64.eqz (i64.load (i32.const 0))) (then (call $proc_exit (i32.const 3))))))
