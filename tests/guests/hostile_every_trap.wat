;; Traps in the way that the first digit of its argument selects, one of nine.
(module
  (import "wasi_snapshot_preview1" "args_get" (func $args_get (param i32 i32) (result i32)))
  (memory (export "memory") 1)
  (table 2 funcref)
  (type $nothing (func))
  (type $number (func (result i32)))
  (elem (i32.const 1) func $digit)
  (func $digit (result i32)
    (drop (call $args_get (i32.const 1024) (i32.const 2048)))
    (i32.sub (i32.load8_u (i32.load (i32.const 1028))) (i32.const 48)))
  (func $down (call $down) (call $down))
  (func (export "_start")
    (local $zero i32)
    (block $8 (block $7 (block $6 (block $5 (block $4 (block $3 (block $2 (block $1 (block $0
      (br_table $0 $1 $2 $3 $4 $5 $6 $7 $8 (call $digit)))
      ;; 0
      unreachable)
      ;; 1
      (drop (i32.div_u (i32.const 1) (local.get $zero))) (return))
      ;; 2
      (drop (i32.div_s (i32.const 0x80000000) (i32.sub (local.get $zero) (i32.const 1)))) (return))
      ;; 3
      (drop (i32.trunc_f64_s (f64.div (f64.const 0) (f64.const 0)))) (return))
      ;; 4
      (drop (i32.load (i32.const -4))) (return))
      ;; 5
      (drop (table.get (i32.const 2))) (return))
      ;; 6
      (call_indirect (type $nothing) (i32.const 0)) (return))
      ;; 7
      (call_indirect (type $nothing) (i32.const 1)) (return))
    ;; 8
    (call $down)))
