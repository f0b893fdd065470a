;; Makes garbage of 64 MiB beside a structure that it keeps, and reads the structure and an array.
(module
  (type $pair (sub (struct (field i32) (field (mut i32)))))
  (type $triple (sub $pair (struct (field i32) (field (mut i32)) (field i64))))
  (type $bytes (array (mut i8)))
  (memory (export "memory") 1)
  (func (export "_start") (local $kept (ref $pair)) (local $left i32)
    (local.set $kept (struct.new $triple (i32.const 1) (i32.const 2) (i64.const 3)))
    (struct.set $pair 1 (local.get $kept) (i32.const 40))
    (local.set $left (i32.const 1024))
    (loop $more
      (drop (array.new $bytes (i32.const 255) (i32.const 65536)))
      (local.set $left (i32.sub (local.get $left) (i32.const 1)))
      (br_if $more (local.get $left)))
    (if (i32.ne (struct.get $pair 1 (local.get $kept)) (i32.const 40)) (then unreachable))
    (if (i64.ne (struct.get $triple 2 (ref.cast (ref $triple) (local.get $kept))) (i64.const 3)) (then unreachable))
    (if (i32.ne (array.get_u $bytes (array.new $bytes (i32.const 255) (i32.const 9)) (i32.const 8)) (i32.const 255))
      (then unreachable))))
