;; Copies stdin to stdout, at most 4 KiB at a time; exits with 1 at the first error.
(module
  (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 1)
  ;; Writes all `count` bytes at 64, with as many calls as needed.
  (func $write_all (param $count i32)
    (local $from i32)
    (local.set $from (i32.const 64))
    (loop $more
      (i32.store (i32.const 0) (local.get $from))
      (i32.store (i32.const 4) (local.get $count))
      (if (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))
        (then (call $proc_exit (i32.const 1))))
      (local.set $from (i32.add (local.get $from) (i32.load (i32.const 8))))
      (local.set $count (i32.sub (local.get $count) (i32.load (i32.const 8))))
      (br_if $more (local.get $count))))
  (func (export "_start")
    (loop $again
      (i32.store (i32.const 0) (i32.const 64))
      (i32.store (i32.const 4) (i32.const 4096))
      (if (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8))
        (then (call $proc_exit (i32.const 1))))
      (if (i32.load (i32.const 8))
        (then
          (call $write_all (i32.load (i32.const 8)))
          (br $again))))))
