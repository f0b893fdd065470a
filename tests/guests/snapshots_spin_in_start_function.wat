;; Computes without end in its start function, which runs before the initialisation.
(module
  (memory (export "memory") 1)
  (func $start (loop (br 0)))
  (start $start)
  (func (export "wizer-initialize"))
  (func (export "_start")))
