;; Prints `started`, waits for the end of stdin, and traps.
(module
  (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 16) "\40\00\00\00\08\00\00\00")
  (data (i32.const 32) "\00\10\00\00\00\10\00\00")
  (data (i32.const 64) "started\n")
  (func (export "_start")
    (drop (call $fd_write (i32.const 1) (i32.const 16) (i32.const 1) (i32.const 8)))
    (loop $again
      (if (i32.eqz (call $fd_read (i32.const 0) (i32.const 32) (i32.const 1) (i32.const 8)))
        (then (br_if $again (i32.load (i32.const 8))))))
    unreachable))
