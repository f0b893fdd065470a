;; Two components linked into one. One sends a list of numbers to the other, which returns a list with each number doubled. Exits with 0 if
;; the sum is right.
(component
  (component $double
    (core module $code
      (memory (export "memory") 2)
      (global $next (mut i32) (i32.const 1024))
      (func (export "realloc") (param i32 i32 i32 i32) (result i32)
        (local $at i32)
        (local.set $at (global.get $next))
        (global.set $next (i32.and (i32.add (i32.add (global.get $next) (local.get 3)) (i32.const 7)) (i32.const -8)))
        (local.get $at))
      (func (export "double") (param $address i32) (param $count i32) (result i32)
        (local $at i32) (local $end i32)
        (local.set $at (local.get $address))
        (local.set $end (i32.add (local.get $address) (i32.mul (local.get $count) (i32.const 4))))
        (block $done
          (loop $each
            (br_if $done (i32.eq (local.get $at) (local.get $end)))
            (i32.store (local.get $at) (i32.mul (i32.load (local.get $at)) (i32.const 2)))
            (local.set $at (i32.add (local.get $at) (i32.const 4)))
            (br $each)))
        (i32.store (i32.const 16) (local.get $address))
        (i32.store (i32.const 20) (local.get $count))
        (i32.const 16)))
    (core instance $code (instantiate $code))
    (func (export "double") (param "numbers" (list u32)) (result (list u32))
      (canon lift (core func $code "double") (memory $code "memory") (realloc (func $code "realloc")))))
  (component $main
    (import "double" (func $double (param "numbers" (list u32)) (result (list u32))))
    (core module $memory
      (memory (export "memory") 2)
      (global $next (mut i32) (i32.const 65536))
      (func (export "realloc") (param i32 i32 i32 i32) (result i32)
        (local $at i32)
        (local.set $at (global.get $next))
        (global.set $next (i32.and (i32.add (i32.add (global.get $next) (local.get 3)) (i32.const 7)) (i32.const -8)))
        (local.get $at)))
    (core instance $memory (instantiate $memory))
    (core func $lowered (canon lower (func $double) (memory $memory "memory") (realloc (func $memory "realloc"))))
    (core module $code
      (import "" "memory" (memory 2))
      (import "" "double" (func $double (param i32 i32 i32)))
      (func (export "run") (result i32)
        (local $index i32) (local $sum i32)
        ;; The numbers from 0 to 9,999, at address 1024.
        (loop $fill
          (i32.store (i32.add (i32.const 1024) (i32.mul (local.get $index) (i32.const 4))) (local.get $index))
          (local.set $index (i32.add (local.get $index) (i32.const 1)))
          (br_if $fill (i32.lt_u (local.get $index) (i32.const 10000))))
        (call $double (i32.const 1024) (i32.const 10000) (i32.const 32))
        (local.set $index (i32.const 0))
        (loop $add
          (local.set $sum (i32.add (local.get $sum)
            (i32.load (i32.add (i32.load (i32.const 32)) (i32.mul (local.get $index) (i32.const 4))))))
          (local.set $index (i32.add (local.get $index) (i32.const 1)))
          (br_if $add (i32.lt_u (local.get $index) (i32.load (i32.const 36)))))
        (i32.ne (local.get $sum) (i32.const 99990000))))
    (core instance $code (instantiate $code (with "" (instance
      (export "memory" (memory $memory "memory"))
      (export "double" (func $lowered))))))
    (func $run (result (result)) (canon lift (core func $code "run")))
    (instance $run (export "run" (func $run)))
    (export "wasi:cli/run@0.2.0" (instance $run)))
  (instance $double (instantiate $double))
  (instance $main (instantiate $main (with "double" (func $double "double"))))
  (export "wasi:cli/run@0.2.0" (instance $main "wasi:cli/run@0.2.0")))
