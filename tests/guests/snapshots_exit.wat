;; Exits in the initialisation, with success.
(module
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 1)
  (func (export "wizer-initialize") (call $proc_exit (i32.const 0)))
  (func (export "_start")))
