;; Makes garbage of two structures that refer to each other, forever.
(module
  (type $node (struct (field $other (mut (ref null $node))) (field i64)))
  (memory (export "memory") 1)
  (func (export "_start") (local $one (ref $node)) (local $two (ref $node))
    (loop $more
      (local.set $one (struct.new $node (ref.null $node) (i64.const 1)))
      (local.set $two (struct.new $node (local.get $one) (i64.const 2)))
      (struct.set $node $other (local.get $one) (local.get $two))
      (br $more))))
