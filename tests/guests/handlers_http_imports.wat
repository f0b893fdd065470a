;; A component that imports the interface for HTTP requests, which is not linked.
(component
  (import "wasi:http/types@0.2.0" (instance
    (export "fields" (type (sub resource)))))
  (import "wasi:http/outgoing-handler@0.2.0" (instance)))
