;; Opens a file for reading and tries to modify it through that handle; exits with a bit mask of the calls that succeeded, or with 255.
(module
  (import "wasi_snapshot_preview1" "path_open"
    (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_pwrite" (func $fd_pwrite (param i32 i32 i32 i64 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_filestat_set_size" (func $set_size (param i32 i64) (result i32)))
  (import "wasi_snapshot_preview1" "fd_filestat_set_times" (func $set_times (param i32 i64 i64 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_allocate" (func $allocate (param i32 i64 i64) (result i32)))
  (import "wasi_snapshot_preview1" "fd_fdstat_set_rights" (func $set_rights (param i32 i64 i64) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 1)
  (data (i32.const 64) "inside")
  ;; A list of one buffer, with the name of the file.
  (data (i32.const 96) "\40\00\00\00\06\00\00\00")
  (global $worked (mut i32) (i32.const 0))

  (func $note (param $error i32) (param $bit i32)
    (if (i32.eqz (local.get $error))
      (then (global.set $worked (i32.or (global.get $worked) (local.get $bit))))))

  (func (export "_start")
    (local $file i32)
    (if (call $path_open (i32.const 3) (i32.const 1) (i32.const 64) (i32.const 6) (i32.const 0)
          (i64.const 2) (i64.const 2) (i32.const 0) (i32.const 0))
      (then (call $proc_exit (i32.const 255))))
    (local.set $file (i32.load (i32.const 0)))
    (call $note (call $set_rights (local.get $file) (i64.const 66) (i64.const 66)) (i32.const 1))
    (call $note (call $fd_write (local.get $file) (i32.const 96) (i32.const 1) (i32.const 8)) (i32.const 2))
    (call $note (call $fd_pwrite (local.get $file) (i32.const 96) (i32.const 1) (i64.const 0) (i32.const 8)) (i32.const 4))
    (call $note (call $set_size (local.get $file) (i64.const 0)) (i32.const 8))
    (call $note (call $set_times (local.get $file) (i64.const 1) (i64.const 1) (i32.const 5)) (i32.const 16))
    (call $note (call $allocate (local.get $file) (i64.const 0) (i64.const 100)) (i32.const 32))
    (call $proc_exit (global.get $worked))))
