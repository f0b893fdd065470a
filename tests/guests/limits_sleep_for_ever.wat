;; Sleeps until the end of time.
(module
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll_oneoff (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    ;; A subscription at 256: clock 1 (monotonic), a relative timeout of 2^64 - 1 ns.
    (i32.store (i32.const 272) (i32.const 1))
    (i64.store (i32.const 280) (i64.const -1))
    (loop $forever
      (drop (call $poll_oneoff (i32.const 256) (i32.const 512) (i32.const 1) (i32.const 8)))
      (br $forever))))
