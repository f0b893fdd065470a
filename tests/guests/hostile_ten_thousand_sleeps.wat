;; Sleeps ten thousand times for a microsecond; exits with 1 if a sleep fails.
(module
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll_oneoff (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    (local $left i32)
    (local.set $left (i32.const 10000))
    (i32.store (i32.const 272) (i32.const 1))
    (i64.store (i32.const 280) (i64.const 1000))
    (loop $next
      (if (call $poll_oneoff (i32.const 256) (i32.const 512) (i32.const 1) (i32.const 8))
        (then (call $proc_exit (i32.const 1))))
      (br_if $next (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))))
