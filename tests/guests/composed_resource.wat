;; Three levels of components, the innermost of which defines a resource. The outermost makes one, asks it for its number, and drops it.
;; Exits with 0 if the number is right.
(component
  (component $inner
    (type $counter' (resource (rep i32)))
    (export $counter "counter" (type $counter'))
    (core func $make' (canon resource.new $counter'))
    (core module $code
      (import "" "make" (func $make (param i32) (result i32)))
      (func (export "make") (param i32) (result i32) (call $make (i32.add (local.get 0) (i32.const 1))))
      (func (export "read") (param i32) (result i32) (local.get 0)))
    (core instance $code (instantiate $code (with "" (instance (export "make" (func $make'))))))
    (func (export "make") (param "start" u32) (result (own $counter)) (canon lift (core func $code "make")))
    (func (export "read") (param "counter" (borrow $counter)) (result u32) (canon lift (core func $code "read"))))
  (component $middle
    (import "counters" (instance $counters
      (export "counter" (type $counter (sub resource)))
      (export "make" (func (param "start" u32) (result (own $counter))))
      (export "read" (func (param "counter" (borrow $counter)) (result u32)))))
    (export "counters" (instance $counters)))
  (component $main
    (import "counters" (instance $counters
      (export "counter" (type $counter (sub resource)))
      (export "make" (func (param "start" u32) (result (own $counter))))
      (export "read" (func (param "counter" (borrow $counter)) (result u32)))))
    (alias export $counters "counter" (type $counter))
    (core func $make (canon lower (func $counters "make")))
    (core func $read (canon lower (func $counters "read")))
    (core func $drop (canon resource.drop $counter))
    (core module $code
      (import "" "make" (func $make (param i32) (result i32)))
      (import "" "read" (func $read (param i32) (result i32)))
      (import "" "drop" (func $drop (param i32)))
      (func (export "run") (result i32)
        (local $counter i32) (local $number i32)
        (local.set $counter (call $make (i32.const 41)))
        (local.set $number (call $read (local.get $counter)))
        (call $drop (local.get $counter))
        (i32.ne (local.get $number) (i32.const 42))))
    (core instance $code (instantiate $code (with "" (instance
      (export "make" (func $make)) (export "read" (func $read)) (export "drop" (func $drop))))))
    (func $run (result (result)) (canon lift (core func $code "run")))
    (instance $run (export "run" (func $run)))
    (export "wasi:cli/run@0.2.0" (instance $run)))
  (component $linked
    (import "counters" (instance $counters
      (export "counter" (type $counter (sub resource)))
      (export "make" (func (param "start" u32) (result (own $counter))))
      (export "read" (func (param "counter" (borrow $counter)) (result u32)))))
    (instance $middle (instantiate $middle (with "counters" (instance $counters))))
    (instance $main (instantiate $main (with "counters" (instance $middle "counters"))))
    (export "wasi:cli/run@0.2.0" (instance $main "wasi:cli/run@0.2.0")))
  (instance $inner (instantiate $inner))
  (instance $linked (instantiate $linked (with "counters" (instance $inner))))
  (export "wasi:cli/run@0.2.0" (instance $linked "wasi:cli/run@0.2.0")))
