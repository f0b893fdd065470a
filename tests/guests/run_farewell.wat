;; Prints `started`, reads stdin byte by byte with 5 ms in between, prints `farewell` at its end, and exits with the number of its first
;; argument, or 0.
(module
  (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll_oneoff (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_sizes_get" (func $args_sizes_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_get" (func $args_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 1)
  (data (i32.const 16) "\40\00\00\00\08\00\00\00")
  (data (i32.const 24) "\48\00\00\00\09\00\00\00")
  ;; A buffer of one byte at 128.
  (data (i32.const 32) "\80\00\00\00\01\00\00\00")
  (data (i32.const 64) "started\n")
  (data (i32.const 72) "farewell\n")
  (func (export "_start")
    (drop (call $fd_write (i32.const 1) (i32.const 16) (i32.const 1) (i32.const 8)))
    ;; A subscription at 256: clock 1 (monotonic), a relative timeout in nanoseconds.
    (i32.store (i32.const 272) (i32.const 1))
    (i64.store (i32.const 280) (i64.const 5000000))
    (loop $again
      (if (call $fd_read (i32.const 0) (i32.const 32) (i32.const 1) (i32.const 8))
        (then (call $proc_exit (i32.const 99))))
      (if (i32.load (i32.const 8))
        (then
          (drop (call $poll_oneoff (i32.const 256) (i32.const 512) (i32.const 1) (i32.const 8)))
          (br $again))))
    (drop (call $fd_write (i32.const 1) (i32.const 24) (i32.const 1) (i32.const 8)))
    (drop (call $args_sizes_get (i32.const 8) (i32.const 12)))
    (if (i32.gt_u (i32.load (i32.const 8)) (i32.const 1))
      (then
        (drop (call $args_get (i32.const 1024) (i32.const 2048)))
        ;; The first digit of the argument.
        (call $proc_exit (i32.sub (i32.load8_u (i32.load (i32.const 1028))) (i32.const 48)))))))
