;; Traps in the initialisation if it could open the directory with descriptor 3, or a file in it.
(module
  (import "wasi_snapshot_preview1" "fd_prestat_get" (func $fd_prestat_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_open"
    (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 64) "secret")
  (func (export "wizer-initialize")
    (if (i32.eqz (call $fd_prestat_get (i32.const 3) (i32.const 0))) (then (unreachable)))
    (if (i32.eqz (call $path_open (i32.const 3) (i32.const 0) (i32.const 64) (i32.const 6) (i32.const 0)
          (i64.const 2) (i64.const 2) (i32.const 0) (i32.const 0)))
      (then (unreachable))))
  (func (export "_start")
    ;; The run has the mount that the initialisation had not.
    (if (call $fd_prestat_get (i32.const 3) (i32.const 0)) (then (unreachable)))))
