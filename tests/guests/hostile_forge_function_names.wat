;; Traps in functions whose names clear the screen and look like a line of the daemon's log.
(module
  (memory (export "memory") 1)
  (func $"\1b[2J\r\n2026-01-01T00:00:00.000000Z  INFO capstan::job: -job forged() = OK (0)" unreachable)
  (func (export "_start")
    (call $"\1b[2J\r\n2026-01-01T00:00:00.000000Z  INFO capstan::job: -job forged() = OK (0)")))
