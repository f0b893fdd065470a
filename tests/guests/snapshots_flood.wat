;; Writes 16 MiB to stdout in the initialisation.
(module
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 2)
  (data (i32.const 0) "\10\00\00\00\00\00\01\00")
  (func (export "wizer-initialize") (local $left i32)
    (local.set $left (i32.const 256))
    (loop
      (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
      (br_if 0 (local.tee $left (i32.sub (local.get $left) (i32.const 1))))))
  (func (export "_start")))
