;; Grows two memories in turn by 64 KiB until one growth fails, and traps.
(module
  (memory (export "memory") 1)
  (memory $other 1)
  (func (export "_start")
    (loop $more
      (br_if $more (i32.and
        (i32.ne (memory.grow 0 (i32.const 1)) (i32.const -1))
        (i32.ne (memory.grow $other (i32.const 1)) (i32.const -1)))))
    unreachable))
