;; Prints `out` to stdout, then `err` to stderr, and exits with 3.
(module
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 1)
  (data (i32.const 16) "\40\00\00\00\04\00\00\00")
  (data (i32.const 24) "\50\00\00\00\04\00\00\00")
  (data (i32.const 64) "out\n")
  (data (i32.const 80) "err\n")
  (func (export "_start")
    (drop (call $fd_write (i32.const 1) (i32.const 16) (i32.const 1) (i32.const 8)))
    (drop (call $fd_write (i32.const 2) (i32.const 24) (i32.const 1) (i32.const 8)))
    (call $proc_exit (i32.const 3))))
