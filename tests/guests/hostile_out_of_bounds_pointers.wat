;; Passes pointers and lengths that exceed its memory to the host call that the first digit of its argument selects.
(module
  (import "wasi_snapshot_preview1" "args_get" (func $args_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "random_get" (func $random_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll_oneoff (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "\10\00\00\00\ff\ff\ff\ff")
  (func $digit (result i32)
    (drop (call $args_get (i32.const 1024) (i32.const 2048)))
    (i32.sub (i32.load8_u (i32.load (i32.const 1028))) (i32.const 48)))
  (func (export "_start")
    (block $7 (block $6 (block $5 (block $4 (block $3 (block $2 (block $1 (block $0
      (br_table $0 $1 $2 $3 $4 $5 $6 $7 (call $digit)))
      ;; 0: write 4 GiB in one piece
      (call $proc_exit (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))))
      ;; 1: write four billion pieces
      (call $proc_exit (call $fd_write (i32.const 1) (i32.const 0) (i32.const -1) (i32.const 8))))
      ;; 2: write pieces at the end of the address space
      (call $proc_exit (call $fd_write (i32.const 1) (i32.const -1) (i32.const 1) (i32.const 8))))
      ;; 3: store the count beyond the memory
      (call $proc_exit (call $fd_write (i32.const 1) (i32.const 16) (i32.const 0) (i32.const 65535))))
      ;; 4: read 4 GiB
      (call $proc_exit (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8))))
      ;; 5: 4 GiB of random bytes
      (call $proc_exit (call $random_get (i32.const 0) (i32.const -1))))
      ;; 6: four billion subscriptions
      (call $proc_exit (call $poll_oneoff (i32.const 0) (i32.const 0) (i32.const -1) (i32.const 8))))
    ;; 7: store the arguments beyond the memory
    (call $proc_exit (call $args_get (i32.const 65533) (i32.const -1)))))
