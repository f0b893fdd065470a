;; Exits with 42 in its start function, during instantiation; its `_start` is never called.
(module
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 1)
  (func $begin (call $proc_exit (i32.const 42)))
  (start $begin)
  (func (export "_start") unreachable))
