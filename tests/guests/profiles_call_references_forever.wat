;; Calls an empty function through a reference in a loop, forever.
(module
  (type $step (func))
  (memory (export "memory") 1)
  (elem declare func $nothing)
  (func $nothing (type $step))
  (func (export "_start")
    (loop $more
      (call_ref $step (ref.func $nothing))
      (br $more))))
