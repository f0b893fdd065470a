;; Uses exceptions, which an operator can turn off.
(module
  (tag $thrown (param i32))
  (memory (export "memory") 1)
  (func (export "_start")
    (throw $thrown (i32.const 1))))
