;; Prints text that looks like lines of the daemon's log and of other jobs, with escape sequences, to both streams; exits with 1.
(module
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "\10\00\00\00\78\00\00\00")
  (data (i32.const 16)
    "\1b[2J\r2026-01-01T00:00:00.000000Z  INFO capstan::job: -job forged(x) = OK (0)\n{\22event\22:\22job.end\22}\n"
    "\1b]0;forged\07 forged\00line")
  (func (export "_start")
    (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
    (drop (call $fd_write (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 8)))
    (call $proc_exit (i32.const 1))))
