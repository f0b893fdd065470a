;; A component that takes one handle of its stdout after the other, forever.
(component
  (import "wasi:io/error@0.2.0" (instance $errors (export "error" (type (sub resource)))))
  (import "wasi:io/streams@0.2.0" (instance $streams (export "output-stream" (type (sub resource)))))
  (alias export $streams "output-stream" (type $output))
  (import "wasi:cli/stdout@0.2.0" (instance $stdout
    (alias outer 1 $output (type $outer))
    (export "output-stream" (type $stream (eq $outer)))
    (export "get-stdout" (func (result (own $stream))))))
  (core func $take (canon lower (func $stdout "get-stdout")))
  (core module $guest
    (import "host" "take" (func $take (result i32)))
    (func (export "run") (result i32)
      (loop $forever
        (drop (call $take))
        (br $forever))
      (i32.const 0)))
  (core instance $made (instantiate $guest (with "host" (instance (export "take" (func $take))))))
  (func $run (result (result)) (canon lift (core func $made "run")))
  (instance $command (export "run" (func $run)))
  (export "wasi:cli/run@0.2.0" (instance $command)))
