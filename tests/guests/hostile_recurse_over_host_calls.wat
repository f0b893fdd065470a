;; Calls itself forever and asks for the time at each depth, so that a host call reaches the end of the stack.
(module
  (import "wasi_snapshot_preview1" "clock_time_get" (func $clock_time_get (param i32 i64 i32) (result i32)))
  (memory (export "memory") 1)
  (func $down (param i64) (result i64)
    (drop (call $clock_time_get (i32.const 1) (i64.const 1) (i32.const 8)))
    (i64.add (call $down (i64.add (local.get 0) (i64.const 1))) (local.get 0)))
  (func (export "_start")
    (drop (call $down (i64.const 0)))))
