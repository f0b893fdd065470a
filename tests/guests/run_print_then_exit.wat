;; Prints `started`, waits for the end of stdin, prints `ended`, and exits with the code given as its first argument.
(module
  (import "wasi_snapshot_preview1" "args_sizes_get" (func $args_sizes_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_get" (func $args_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 1)
  (data (i32.const 16) "\40\00\00\00\08\00\00\00")
  (data (i32.const 24) "\50\00\00\00\06\00\00\00")
  (data (i32.const 32) "\00\10\00\00\00\10\00\00")
  (data (i32.const 64) "started\n")
  (data (i32.const 80) "ended\n")
  ;; The first argument as a decimal number; 0 if there is none.
  (func $code (result i32)
    (local $at i32)
    (local $code i32)
    (drop (call $args_sizes_get (i32.const 0) (i32.const 4)))
    (if (i32.lt_u (i32.load (i32.const 0)) (i32.const 2))
      (then (return (i32.const 0))))
    (drop (call $args_get (i32.const 1024) (i32.const 2048)))
    (local.set $at (i32.load (i32.const 1028)))
    (loop $digit
      (if (i32.load8_u (local.get $at))
        (then
          (local.set $code
            (i32.add
              (i32.mul (local.get $code) (i32.const 10))
              (i32.sub (i32.load8_u (local.get $at)) (i32.const 48))))
          (local.set $at (i32.add (local.get $at) (i32.const 1)))
          (br $digit))))
    (local.get $code))
  (func (export "_start")
    (drop (call $fd_write (i32.const 1) (i32.const 16) (i32.const 1) (i32.const 8)))
    (loop $again
      (if (i32.eqz (call $fd_read (i32.const 0) (i32.const 32) (i32.const 1) (i32.const 8)))
        (then (br_if $again (i32.load (i32.const 8))))))
    (drop (call $fd_write (i32.const 1) (i32.const 24) (i32.const 1) (i32.const 8)))
    (call $proc_exit (call $code))))
