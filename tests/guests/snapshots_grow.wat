;; Grows its memory in the initialisation as far as it can, and traps when it cannot.
(module
  (memory (export "memory") 1)
  (func (export "wizer-initialize")
    (loop
      (if (i32.eq (memory.grow (i32.const 16)) (i32.const -1)) (then (unreachable)))
      (br 0)))
  (func (export "_start")))
