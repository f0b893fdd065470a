;; Requests 64 MiB of random bytes in one call, forever; exits with 1 if that fails.
(module
  (import "wasi_snapshot_preview1" "random_get" (func $random_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 1025)
  (func (export "_start")
    (loop $forever
      (if (call $random_get (i32.const 0) (i32.const 67108864))
        (then (call $proc_exit (i32.const 1))))
      (br $forever))))
