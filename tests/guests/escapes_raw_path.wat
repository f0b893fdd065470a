;; Reads a path from stdin and passes it unmodified to the call that its argument selects by letter; exits with the error.
(module
  (import "wasi_snapshot_preview1" "args_get" (func $args_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_open"
    (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_filestat_get" (func $stat (param i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_readlink" (func $readlink (param i32 i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_create_directory" (func $mkdir (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_remove_directory" (func $rmdir (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_unlink_file" (func $unlink (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_symlink" (func $symlink (param i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_link" (func $link (param i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_rename" (func $rename (param i32 i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_filestat_set_times"
    (func $set_times (param i32 i32 i32 i32 i64 i64 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  ;; The path starts at the second page.
  (memory (export "memory") 260)
  (data (i32.const 1024) "inside")
  (data (i32.const 1040) "made")
  (global $path i32 (i32.const 65536))
  (global $length (mut i32) (i32.const 0))

  (func $read_path
    (loop $more
      (i32.store (i32.const 16) (i32.add (global.get $path) (global.get $length)))
      (i32.store (i32.const 20) (i32.const 65536))
      (if (i32.eqz (call $fd_read (i32.const 0) (i32.const 16) (i32.const 1) (i32.const 0)))
        (then
          (global.set $length (i32.add (global.get $length) (i32.load (i32.const 0))))
          (br_if $more (i32.load (i32.const 0)))))))

  ;; Descriptor 3 is the mount.
  (func $open (param $follow i32) (param $how i32) (param $rights i64) (result i32)
    (call $path_open (i32.const 3) (local.get $follow) (global.get $path) (global.get $length) (local.get $how)
      (local.get $rights) (local.get $rights) (i32.const 0) (i32.const 0)))

  (func $times (param $at i64) (result i32)
    ;; Set both times to the given values.
    (call $set_times (i32.const 3) (i32.const 1) (global.get $path) (global.get $length)
      (local.get $at) (local.get $at) (i32.const 5)))

  (func $asked (param $letter i32) (result i32)
    (block $r (block $q (block $p (block $o (block $n (block $m (block $l (block $k (block $j (block $i (block $h
    (block $g (block $f (block $e (block $d (block $c (block $b (block $a
      (br_table $a $b $c $d $e $f $g $h $i $j $k $l $m $n $o $p $q $r
        (i32.sub (local.get $letter) (i32.const 97))))
      ;; a: open for reading
      (return (call $open (i32.const 1) (i32.const 0) (i64.const 2))))
      ;; b: open for reading without following symlinks
      (return (call $open (i32.const 0) (i32.const 0) (i64.const 2))))
      ;; c: create
      (return (call $open (i32.const 1) (i32.const 1) (i64.const 64))))
      ;; d: truncate
      (return (call $open (i32.const 1) (i32.const 8) (i64.const 64))))
      ;; e: open a directory
      (return (call $open (i32.const 1) (i32.const 2) (i64.const 2))))
      (return (call $stat (i32.const 3) (i32.const 1) (global.get $path) (global.get $length) (i32.const 128))))
      (return (call $stat (i32.const 3) (i32.const 0) (global.get $path) (global.get $length) (i32.const 128))))
      (return (call $readlink (i32.const 3) (global.get $path) (global.get $length)
        (i32.const 128) (i32.const 512) (i32.const 0))))
      (return (call $mkdir (i32.const 3) (global.get $path) (global.get $length))))
      (return (call $rmdir (i32.const 3) (global.get $path) (global.get $length))))
      (return (call $unlink (i32.const 3) (global.get $path) (global.get $length))))
      (return (call $symlink (i32.const 1024) (i32.const 6) (i32.const 3) (global.get $path) (global.get $length))))
      (return (call $link (i32.const 3) (i32.const 0) (global.get $path) (global.get $length)
        (i32.const 3) (i32.const 1040) (i32.const 4))))
      (return (call $link (i32.const 3) (i32.const 0) (i32.const 1024) (i32.const 6)
        (i32.const 3) (global.get $path) (global.get $length))))
      (return (call $rename (i32.const 3) (global.get $path) (global.get $length)
        (i32.const 3) (i32.const 1040) (i32.const 4))))
      (return (call $rename (i32.const 3) (i32.const 1024) (i32.const 6)
        (i32.const 3) (global.get $path) (global.get $length))))
      (return (call $times (i64.const 1))))
    ;; r: the last representable moment
    (call $times (i64.const -1)))

  (func (export "_start")
    (call $read_path)
    (drop (call $args_get (i32.const 64) (i32.const 256)))
    (call $proc_exit (call $asked (i32.load8_u (i32.load (i32.const 68)))))))
