;; A component that exports nothing, in particular not `wasi:cli/run`.
(component
  (core module $inner
    (func (export "nothing")))
  (core instance (instantiate $inner)))
