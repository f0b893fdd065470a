;; Loops for ever in its start function, while it is being instantiated.
(module
  (memory (export "memory") 1)
  (func $begin (loop $for_ever (br $for_ever)))
  (start $begin)
  (func (export "_start")))
