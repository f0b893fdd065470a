;; Fills and copies an array of 32 MiB, forever. Each is one instruction.
(module
  (type $numbers (array (mut i64)))
  (memory (export "memory") 1)
  (func (export "_start") (local $array (ref $numbers))
    (local.set $array (array.new $numbers (i64.const 1) (i32.const 4194304)))
    (loop $more
      (array.fill $numbers (local.get $array) (i32.const 0) (i64.const 3) (i32.const 4194304))
      (array.copy $numbers $numbers
        (local.get $array) (i32.const 1) (local.get $array) (i32.const 0) (i32.const 4194303))
      (br $more))))
