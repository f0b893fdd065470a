;; Components inside of a component inside of the program: a string goes through three of them and back, each with a memory of its own. Exits
;; with 0 if it is the same.
(component
  (component $main
    (import "echo" (func $echo (param "text" string) (result string)))
    (core module $memory
      (memory (export "memory") 1)
      (global $next (mut i32) (i32.const 1024))
      (func (export "realloc") (param i32 i32 i32 i32) (result i32)
        (local $at i32)
        (local.set $at (global.get $next))
        (global.set $next (i32.and (i32.add (i32.add (global.get $next) (local.get 3)) (i32.const 7)) (i32.const -8)))
        (local.get $at)))
    (core instance $memory (instantiate $memory))
    (core func $lowered (canon lower (func $echo) (memory $memory "memory") (realloc (func $memory "realloc"))))
    (core module $code
      (import "" "memory" (memory 1))
      (import "" "echo" (func $echo (param i32 i32 i32)))
      (data (i32.const 64) "composed")
      (func (export "run") (result i32)
        (call $echo (i32.const 64) (i32.const 8) (i32.const 32))
        (i32.or
          (i32.ne (i32.load (i32.const 36)) (i32.const 8))
          (i64.ne (i64.load (i32.load (i32.const 32))) (i64.load (i32.const 64))))))
    (core instance $code (instantiate $code (with "" (instance
      (export "memory" (memory $memory "memory"))
      (export "echo" (func $lowered))))))
    (func $run (result (result)) (canon lift (core func $code "run")))
    (instance $run (export "run" (func $run)))
    (export "wasi:cli/run@0.2.0" (instance $run)))
  (component $pair
    (component $echo
      (core module $code
        (memory (export "memory") 1)
        (global $next (mut i32) (i32.const 1024))
        (func (export "realloc") (param i32 i32 i32 i32) (result i32)
          (local $at i32)
          (local.set $at (global.get $next))
          (global.set $next (i32.and (i32.add (i32.add (global.get $next) (local.get 3)) (i32.const 7)) (i32.const -8)))
          (local.get $at))
        (func (export "echo") (param $address i32) (param $length i32) (result i32)
          (i32.store (i32.const 16) (local.get $address))
          (i32.store (i32.const 20) (local.get $length))
          (i32.const 16)))
      (core instance $code (instantiate $code))
      (func (export "echo") (param "text" string) (result string)
        (canon lift (core func $code "echo") (memory $code "memory") (realloc (func $code "realloc")))))
    (component $relay
      (import "echo" (func $echo (param "text" string) (result string)))
      (core module $memory
        (memory (export "memory") 1)
        (global $next (mut i32) (i32.const 1024))
        (func (export "realloc") (param i32 i32 i32 i32) (result i32)
          (local $at i32)
          (local.set $at (global.get $next))
          (global.set $next (i32.and (i32.add (i32.add (global.get $next) (local.get 3)) (i32.const 7)) (i32.const -8)))
          (local.get $at)))
      (core instance $memory (instantiate $memory))
      (core func $lowered (canon lower (func $echo) (memory $memory "memory") (realloc (func $memory "realloc"))))
      (core module $code
        (import "" "memory" (memory 1))
        (import "" "echo" (func $echo (param i32 i32 i32)))
        (func (export "echo") (param $address i32) (param $length i32) (result i32)
          (call $echo (local.get $address) (local.get $length) (i32.const 32))
          (i32.const 32)))
      (core instance $code (instantiate $code (with "" (instance
        (export "memory" (memory $memory "memory"))
        (export "echo" (func $lowered))))))
      (func (export "echo") (param "text" string) (result string)
        (canon lift (core func $code "echo") (memory $memory "memory") (realloc (func $memory "realloc")))))
    (instance $echo (instantiate $echo))
    (instance $relay (instantiate $relay (with "echo" (func $echo "echo"))))
    (export "echo" (func $relay "echo")))
  (instance $pair (instantiate $pair))
  (instance $main (instantiate $main (with "echo" (func $pair "echo"))))
  (export "wasi:cli/run@0.2.0" (instance $main "wasi:cli/run@0.2.0")))
