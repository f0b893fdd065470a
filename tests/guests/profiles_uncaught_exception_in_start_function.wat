;; Throws an exception in its start function, which runs when the module is instantiated.
(module
  (tag $thrown)
  (memory (export "memory") 1)
  (func $init (throw $thrown))
  (func (export "_start"))
  (start $init))
