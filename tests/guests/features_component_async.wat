;; Opens a stream and closes both of its ends.
(component
  (type $bytes (stream u8))
  (core func $open (canon stream.new $bytes))
  (core func $close-read (canon stream.drop-readable $bytes))
  (core func $close-write (canon stream.drop-writable $bytes))
  (core module $code
    (import "host" "open" (func $open (result i64)))
    (import "host" "close-read" (func $close-read (param i32)))
    (import "host" "close-write" (func $close-write (param i32)))
    (func (export "run") (result i32) (local $ends i64)
      (local.set $ends (call $open))
      (call $close-write (i32.wrap_i64 (i64.shr_u (local.get $ends) (i64.const 32))))
      (call $close-read (i32.wrap_i64 (local.get $ends)))
      (i32.const 0)))
  (core instance $code
    (instantiate $code (with "host" (instance
      (export "open" (func $open))
      (export "close-read" (func $close-read))
      (export "close-write" (func $close-write))))))
  (func $run (result (result)) (canon lift (core func $code "run")))
  (instance $exported (export "run" (func $run)))
  (export "wasi:cli/run@0.2.0" (instance $exported)))
