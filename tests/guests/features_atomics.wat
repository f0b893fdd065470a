;; Adds to its memory with an atomic instruction, as a program does that was built for threads and has none.
(module
  (memory (export "memory") 1)
  (func (export "_start")
    (drop (i32.atomic.rmw.add (i32.const 8) (i32.const 5)))
    (if (i32.ne (i32.atomic.load (i32.const 8)) (i32.const 5)) (then unreachable))
    (if (memory.atomic.notify (i32.const 8) (i32.const 1)) (then unreachable))))
