;; A component that exports nothing, `wasi:cli/run` least of all.
(component
  (core module $inner
    (func (export "nothing")))
  (core instance (instantiate $inner)))
