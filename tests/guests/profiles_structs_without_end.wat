;; Builds a list of structures that are all in use, until its heap cannot grow.
(module
  (type $node (struct (field i64) (field (ref null $node))))
  (memory (export "memory") 1)
  (func (export "_start") (local $list (ref null $node))
    (loop $more
      (local.set $list (struct.new $node (i64.const 7) (local.get $list)))
      (br $more))))
