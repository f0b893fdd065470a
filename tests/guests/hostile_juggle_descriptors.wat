;; Renumbers and closes descriptors forever: those of its streams, invalid ones, and closed ones.
(module
  (import "wasi_snapshot_preview1" "fd_renumber" (func $fd_renumber (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_close" (func $fd_close (param i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    (local $at i32)
    (loop $forever
      (drop (call $fd_renumber (i32.and (local.get $at) (i32.const 3)) (i32.and (i32.shr_u (local.get $at) (i32.const 2)) (i32.const 3))))
      (drop (call $fd_renumber (i32.const 1) (local.get $at)))
      (drop (call $fd_renumber (i32.const -1) (i32.const 1)))
      (drop (call $fd_close (local.get $at)))
      (drop (call $fd_close (i32.const -1)))
      (local.set $at (i32.add (local.get $at) (i32.const 1)))
      (br $forever))))
