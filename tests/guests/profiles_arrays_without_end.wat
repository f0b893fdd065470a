;; Keeps arrays of 1 MiB, until its heap cannot grow.
(module
  (type $bytes (array (mut i8)))
  (type $node (struct (field (ref $bytes)) (field (ref null $node))))
  (memory (export "memory") 1)
  (func (export "_start") (local $list (ref null $node))
    (loop $more
      (local.set $list (struct.new $node (array.new $bytes (i32.const 1) (i32.const 1048576)) (local.get $list)))
      (br $more))))
