;; Loops forever in its start function, during instantiation.
(module
  (memory (export "memory") 1)
  (func $begin (loop $forever (br $forever)))
  (start $begin)
  (func (export "_start")))
