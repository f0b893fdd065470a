;; A component that wants to make requests over HTTP, by an interface that is not linked.
(component
  (import "wasi:http/types@0.2.0" (instance
    (export "fields" (type (sub resource)))))
  (import "wasi:http/outgoing-handler@0.2.0" (instance)))
