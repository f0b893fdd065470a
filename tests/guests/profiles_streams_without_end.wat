;; Opens streams that nobody closes, forever.
(component
  (type $bytes (stream u8))
  (core func $open (canon stream.new $bytes))
  (core module $code
    (import "host" "open" (func $open (result i64)))
    (func (export "run") (result i32)
      (loop $more
        (drop (call $open))
        (br $more))
      unreachable))
  (core instance $code
    (instantiate $code (with "host" (instance (export "open" (func $open))))))
  (func $run (result (result)) (canon lift (core func $code "run")))
  (instance $exported (export "run" (func $run)))
  (export "wasi:cli/run@0.2.0" (instance $exported)))
