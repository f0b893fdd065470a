;; Grows its memory page by page until a growth fails, and traps, like an allocator that runs out of memory.
(module
  (memory (export "memory") 1)
  (func (export "_start")
    (loop $more
      (br_if $more (i32.ne (memory.grow (i32.const 1)) (i32.const -1))))
    unreachable))
