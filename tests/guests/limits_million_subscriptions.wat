;; Waits for a million clocks at once; exits with 1 if that fails.
(module
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll_oneoff (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  ;; 48 MB of subscriptions and 32 MB of events.
  (memory (export "memory") 1300)
  (func (export "_start")
    (if (call $poll_oneoff (i32.const 1024) (i32.const 49000000) (i32.const 1000000) (i32.const 8))
      (then (call $proc_exit (i32.const 1))))))
