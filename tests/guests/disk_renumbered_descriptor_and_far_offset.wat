;; Writes to a file through the descriptor number of stdout, partly at an offset, until a write fails; exits with that error, or with at least 90.
(module
  (import "wasi_snapshot_preview1" "path_open"
    (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_renumber" (func $fd_renumber (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_pwrite" (func $fd_pwrite (param i32 i32 i32 i64 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 1)
  (data (i32.const 64) "file")
  (data (i32.const 80) "12345")
  ;; A list of two buffers. The first is empty.
  (data (i32.const 96) "\50\00\00\00\00\00\00\00\50\00\00\00\05\00\00\00")

  (func $must (param $holds i32) (param $code i32)
    (if (i32.eqz (local.get $holds)) (then (call $proc_exit (local.get $code)))))

  (func (export "_start")
    ;; Descriptor 3 is the mount. Create the file for reading and writing.
    (call $must
      (i32.eqz (call $path_open (i32.const 3) (i32.const 0) (i32.const 64) (i32.const 4) (i32.const 1)
        (i64.const 66) (i64.const 66) (i32.const 0) (i32.const 0)))
      (i32.const 90))
    (call $must (i32.eqz (call $fd_renumber (i32.load (i32.const 0)) (i32.const 1))) (i32.const 91))
    (call $must (i32.eqz (call $fd_write (i32.const 1) (i32.const 96) (i32.const 2) (i32.const 4))) (i32.const 92))
    (call $must (i32.eq (i32.load (i32.const 4)) (i32.const 5)) (i32.const 93))
    ;; Three of these bytes fit.
    (call $must
      (i32.eqz (call $fd_pwrite (i32.const 1) (i32.const 96) (i32.const 2) (i64.const 5) (i32.const 4)))
      (i32.const 94))
    (call $must (i32.eq (i32.load (i32.const 4)) (i32.const 3)) (i32.const 95))
    (call $proc_exit
      (call $fd_pwrite (i32.const 1) (i32.const 96) (i32.const 2) (i64.const 0x4000000000000000) (i32.const 4)))))
