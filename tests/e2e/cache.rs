//! The cache of compiled code: `capstan run FILE` compiles a file once, and works without a cache that cannot be used.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use capstan_tests::{Cli, Finished, eventually, guests};

use crate::command;

/// A limit on the compiler with which nothing can be compiled, so that a run that succeeds has compiled nothing.
const NO_COMPILER: [&str; 2] = ["--compile-memory", "1MiB"];

/// Returns the command with its own cache.
fn with_cache(cache: &Path) -> Cli {
    command().file("hello.wasm", guests::run::HELLO).env("CAPSTAN_CACHE", cache.to_str().unwrap())
}

/// Runs a file with a cache.
async fn run(cache: &Path, options: &[&str]) -> Finished {
    with_cache(cache).args(["run"]).args(options).args(["hello.wasm"]).run().await
}

#[tokio::test]
async fn second_run_of_a_file_compiles_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("cache");
    run(&cache, &NO_COMPILER).await.assert_exit_code(125);
    assert_eq!(run(&cache, &[]).await.assert_exit_code(0).stderr, "");
    assert_eq!(run(&cache, &NO_COMPILER).await.assert_exit_code(0).text(), "hello\n");
    run(&cache, &["--no-cache", NO_COMPILER[0], NO_COMPILER[1]]).await.assert_exit_code(125);

    let listed = with_cache(&cache).args(["cache", "ls", "--json"]).run().await.assert_exit_code(0).json();
    let program = &listed["programs"][0];
    assert!(program["digest"].as_str().unwrap().starts_with("sha256:") && program["bytes"].as_u64().unwrap() > 1000);
    let table = with_cache(&cache).args(["cache"]).run().await.assert_exit_code(0);
    assert!(table.text().starts_with("PROGRAM") && table.text().contains("just now"), "{}", table.text());

    let cleared = with_cache(&cache).args(["cache", "clear"]).run().await.assert_exit_code(0);
    assert!(cleared.text().starts_with("removed the code of 1 program, "), "{}", cleared.text());
    run(&cache, &NO_COMPILER).await.assert_exit_code(125);
}

#[tokio::test]
async fn changed_file_is_compiled_again() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("cache");
    run(&cache, &[]).await.assert_exit_code(0);
    let changed = |options: &[&str]| {
        with_cache(&cache).file("hello.wasm", guests::run::EXIT).args(["run"]).args(options).args(["hello.wasm", "7"])
    };
    changed(&NO_COMPILER).run().await.assert_exit_code(125);
    changed(&[]).run().await.assert_exit_code(7);
}

#[tokio::test]
async fn cache_that_cannot_be_used_is_reported_once_and_the_run_works() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "x").unwrap();
    let open_to_others = folder.path().join("open");
    fs::create_dir(&open_to_others).unwrap();
    fs::set_permissions(&open_to_others, fs::Permissions::from_mode(0o777)).unwrap();
    for (cache, reason) in
        [(file.clone(), "exists"), (file.join("below"), "not a directory"), (open_to_others, "chmod 700")]
    {
        let finished = run(&cache, &[]).await.assert_exit_code(0);
        assert_eq!(finished.text(), "hello\n");
        assert!(finished.stderr.contains(reason) && finished.stderr.contains("--no-cache"), "{}", finished.stderr);
        assert_eq!(finished.stderr.lines().count(), 1, "{}", finished.stderr);
        assert_eq!(run(&cache, &["--no-cache"]).await.assert_exit_code(0).stderr, "");
        with_cache(&cache).args(["cache", "ls"]).run().await.assert_exit_code(125);
    }
}

#[tokio::test]
async fn damaged_code_in_the_cache_is_compiled_again() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("cache");
    run(&cache, &[]).await.assert_exit_code(0);
    let artifacts = cache.join("artifacts");
    let is_code = |path: &Path| !path.file_name().unwrap().to_str().unwrap().starts_with('.');
    let code = fs::read_dir(&artifacts).unwrap().map(|entry| entry.unwrap().path()).find(|path| is_code(path)).unwrap();
    let mut bytes = fs::read(&code).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    for damaged in [&bytes[..], &bytes[..40], b"", b"garbage"] {
        fs::write(&code, damaged).unwrap();
        assert_eq!(run(&cache, &[]).await.assert_exit_code(0).text(), "hello\n");
        run(&cache, &NO_COMPILER).await.assert_exit_code(0);
    }
    // Nothing that others have put there does harm.
    fs::create_dir(artifacts.join("aa.48")).unwrap();
    fs::write(artifacts.join("no code"), "x").unwrap();
    run(&cache, &NO_COMPILER).await.assert_exit_code(0);
    with_cache(&cache).args(["cache", "clear"]).run().await.assert_exit_code(0);
}

#[tokio::test]
async fn cache_keeps_its_size() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("cache");
    run(&cache, &["--cache-size", "1KiB"]).await.assert_exit_code(0);
    let listed = with_cache(&cache).args(["cache", "ls", "--json"]).run().await.assert_exit_code(0).json();
    assert_eq!(listed["programs"], serde_json::json!([]), "code that is larger than the cache is not kept");
    run(&cache, &["--cache-size", "0"]).await.assert_exit_code(125);
}

#[tokio::test]
async fn commands_that_run_a_file_at_once_share_its_code() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("cache");
    let runs = (0..6).map(|_| run(&cache, &[]));
    for finished in futures_util::future::join_all(runs).await {
        assert_eq!(finished.assert_exit_code(0).text(), "hello\n");
    }
    let listed = with_cache(&cache).args(["cache", "ls", "--json"]).run().await.assert_exit_code(0).json();
    assert_eq!(listed["programs"].as_array().unwrap().len(), 1);
}

/// Returns how many files the cache knows the program of.
fn known_files(cache: &Path) -> usize {
    fs::read_dir(cache.join("files")).map_or(0, Iterator::count)
}

/// Runs the file `path` until the cache knows its program: a file that has just been written may change without a trace.
async fn run_until_known(cache: &Path, path: &str) {
    eventually("the cache to know the file", async || {
        with_cache(cache).args(["run", path]).run().await.assert_exit_code(0);
        (known_files(cache) > 0).then_some(())
    })
    .await;
}

/// Returns a program with the output `text` that has the same size for each text of the same length.
fn printing(text: &str) -> Vec<u8> {
    let program = format!(
        r#"(module
          (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
          (memory (export "memory") 1)
          (data (i32.const 0) "\08\00\00\00\04\00\00\00{text}")
          (func (export "_start") (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 16)))))"#
    );
    wat::parse_str(program).unwrap()
}

#[tokio::test]
async fn file_that_the_cache_knows_runs_what_it_contains_after_any_change() {
    let folder = tempfile::tempdir().unwrap();
    let (cache, path) = (folder.path().join("cache"), folder.path().join("p.wasm"));
    let name = path.to_str().unwrap();
    let output = async || with_cache(&cache).args(["run", name]).run().await.assert_exit_code(0).text().to_owned();
    fs::write(&path, printing("one.")).unwrap();
    run_until_known(&cache, name).await;
    assert_eq!(output().await, "one.");
    let modified = fs::metadata(&path).unwrap().modified().unwrap();
    let set_modified = |path: &Path| fs::File::open(path).unwrap().set_modified(modified).unwrap();

    // Another file of the same size and time has taken its name.
    let other = folder.path().join("other.wasm");
    fs::write(&other, printing("two.")).unwrap();
    set_modified(&other);
    fs::rename(&other, &path).unwrap();
    assert_eq!(output().await, "two.");
    // Its content was replaced in place, and its time set back.
    fs::write(&path, printing("tree")).unwrap();
    set_modified(&path);
    assert_eq!(output().await, "tree");
    // A link to it is the same file, and text is compiled too.
    let link = folder.path().join("link.wasm");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    with_cache(&cache).args(["run", link.to_str().unwrap()]).run().await.assert_exit_code(0);
    fs::write(&path, "(module (func (export \"_start\")))").unwrap();
    assert_eq!(output().await, "");
}

#[tokio::test]
async fn file_that_the_cache_knows_runs_without_its_code_or_its_record() {
    let folder = tempfile::tempdir().unwrap();
    let (cache, path) = (folder.path().join("cache"), folder.path().join("p.wasm"));
    let name = path.to_str().unwrap();
    fs::write(&path, printing("one.")).unwrap();
    run_until_known(&cache, name).await;
    let check = async |options: &[&str]| {
        let finished = with_cache(&cache).args(["run"]).args(options).args([name]).run().await.assert_exit_code(0);
        assert_eq!(finished.text(), "one.");
    };
    check(&NO_COMPILER).await;
    for code in fs::read_dir(cache.join("artifacts")).unwrap() {
        fs::write(code.unwrap().path(), "garbage").unwrap();
    }
    check(&[]).await;
    check(&NO_COMPILER).await;
    for record in fs::read_dir(cache.join("files")).unwrap() {
        fs::write(record.unwrap().path(), "garbage").unwrap();
    }
    check(&NO_COMPILER).await;
    with_cache(&cache).args(["cache", "clear"]).run().await.assert_exit_code(0);
    assert_eq!(known_files(&cache), 0);
    check(&[]).await;
    // Something else has the place of the records.
    fs::remove_dir_all(cache.join("files")).unwrap();
    fs::write(cache.join("files"), "x").unwrap();
    let finished = with_cache(&cache).args(["run", name]).run().await.assert_exit_code(0);
    assert_eq!((finished.text(), finished.stderr.lines().count()), ("one.", 1), "{}", finished.stderr);
}
