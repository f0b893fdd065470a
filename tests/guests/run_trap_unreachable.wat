;; Traps three calls deep; the functions have names that the backtrace must contain.
(module
  (memory (export "memory") 1)
  (func $innermost_culprit unreachable)
  (func $middle_caller (call $innermost_culprit))
  (func (export "_start") (call $middle_caller)))
