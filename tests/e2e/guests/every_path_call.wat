;; Makes every call that takes a directory with each kind of descriptor, and prints what each answers, a byte each.
;;
;; The first mount is 3; the file "file" is below it. The kinds are: a file, stdin, stdout, stderr, a descriptor that is closed, and one
;; that never was.
(module
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_close" (func $fd_close (param i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_readdir" (func $readdir (param i32 i32 i32 i64 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_open"
    (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_filestat_get" (func $stat (param i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_filestat_set_times"
    (func $set_times (param i32 i32 i32 i32 i64 i64 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_readlink" (func $readlink (param i32 i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_create_directory" (func $mkdir (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_remove_directory" (func $rmdir (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_unlink_file" (func $unlink (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_symlink" (func $symlink (param i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_link" (func $link (param i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_rename" (func $rename (param i32 i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 1)
  (data (i32.const 1024) "file")
  (data (i32.const 1040) "made")
  (data (i32.const 1056) "sub")
  ;; The answers begin at 4096.
  (global $end (mut i32) (i32.const 4096))

  (func $note (param $answer i32)
    (i32.store8 (global.get $end) (local.get $answer))
    (global.set $end (i32.add (global.get $end) (i32.const 1))))

  (func $open (param $fd i32) (param $path i32) (param $how i32) (param $rights i64) (result i32)
    (call $path_open (local.get $fd) (i32.const 0) (local.get $path) (i32.const 4) (local.get $how)
      (local.get $rights) (local.get $rights) (i32.const 0) (i32.const 64)))

  ;; Opens "file" below the mount; 1000 where that fails.
  (func $file (result i32)
    (if (result i32) (call $open (i32.const 3) (i32.const 1024) (i32.const 0) (i64.const 2))
      (then (i32.const 1000))
      (else (i32.load (i32.const 64)))))

  (func $every_call (param $fd i32)
    ;; Open to read, create, open a directory.
    (call $note (call $open (local.get $fd) (i32.const 1024) (i32.const 0) (i64.const 2)))
    (call $note (call $open (local.get $fd) (i32.const 1040) (i32.const 1) (i64.const 64)))
    (call $note (call $open (local.get $fd) (i32.const 1024) (i32.const 2) (i64.const 2)))
    (call $note (call $stat (local.get $fd) (i32.const 0) (i32.const 1024) (i32.const 4) (i32.const 128)))
    (call $note (call $set_times (local.get $fd) (i32.const 0) (i32.const 1024) (i32.const 4)
      (i64.const 1) (i64.const 1) (i32.const 5)))
    (call $note (call $readlink (local.get $fd) (i32.const 1024) (i32.const 4)
      (i32.const 128) (i32.const 512) (i32.const 64)))
    (call $note (call $mkdir (local.get $fd) (i32.const 1040) (i32.const 4)))
    (call $note (call $rmdir (local.get $fd) (i32.const 1056) (i32.const 3)))
    (call $note (call $unlink (local.get $fd) (i32.const 1024) (i32.const 4)))
    (call $note (call $symlink (i32.const 1024) (i32.const 4) (local.get $fd) (i32.const 1040) (i32.const 4)))
    ;; Link from, link to, rename from, rename to.
    (call $note (call $link (local.get $fd) (i32.const 0) (i32.const 1024) (i32.const 4)
      (i32.const 3) (i32.const 1040) (i32.const 4)))
    (call $note (call $link (i32.const 3) (i32.const 0) (i32.const 1024) (i32.const 4)
      (local.get $fd) (i32.const 1040) (i32.const 4)))
    (call $note (call $rename (local.get $fd) (i32.const 1024) (i32.const 4)
      (i32.const 3) (i32.const 1040) (i32.const 4)))
    (call $note (call $rename (i32.const 3) (i32.const 1024) (i32.const 4)
      (local.get $fd) (i32.const 1040) (i32.const 4)))
    (call $note (call $readdir (local.get $fd) (i32.const 128) (i32.const 512) (i64.const 0) (i32.const 64))))

  (func (export "_start") (local $file i32) (local $closed i32)
    (local.set $file (call $file))
    (local.set $closed (call $file))
    (drop (call $fd_close (local.get $closed)))
    (call $every_call (local.get $file))
    (call $every_call (i32.const 0))
    (call $every_call (i32.const 1))
    (call $every_call (i32.const 2))
    (call $every_call (local.get $closed))
    (call $every_call (i32.const 999))
    (i32.store (i32.const 80) (i32.const 4096))
    (i32.store (i32.const 84) (i32.sub (global.get $end) (i32.const 4096)))
    (if (call $fd_write (i32.const 1) (i32.const 80) (i32.const 1) (i32.const 64))
      (then (call $proc_exit (i32.const 1))))))
