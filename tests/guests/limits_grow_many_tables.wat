;; Grows each of four tables until a growth fails, and traps. Only a limit on their sum stops it.
(module
  (memory (export "memory") 1)
  (table $a 1 funcref)
  (table $b 1 funcref)
  (table $c 1 funcref)
  (table $d 1 funcref)
  (func (export "_start")
    (loop $more
      (br_if $more
        (i32.and
          (i32.and
            (i32.ne (table.grow $a (ref.null func) (i32.const 1000)) (i32.const -1))
            (i32.ne (table.grow $b (ref.null func) (i32.const 1000)) (i32.const -1)))
          (i32.and
            (i32.ne (table.grow $c (ref.null func) (i32.const 1000)) (i32.const -1))
            (i32.ne (table.grow $d (ref.null func) (i32.const 1000)) (i32.const -1))))))
    unreachable))
