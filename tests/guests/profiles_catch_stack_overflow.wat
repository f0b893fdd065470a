;; Calls itself forever, and tries to catch the end of the stack in each call. A trap is no exception.
(module
  (tag $unused)
  (memory (export "memory") 1)
  (func $down (param i32) (result i32)
    (block $caught
      (try_table (catch_all $caught)
        (return (i32.add (call $down (i32.add (local.get 0) (i32.const 1))) (local.get 0)))))
    (i32.const 0))
  (func (export "_start")
    (drop (call $down (i32.const 0)))))
