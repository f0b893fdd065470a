//! Programs that others have built: CPython and QuickJS, from public packages. `jobs/build --test` fetches them where it can. Where it cannot,
//! these tests say so and check nothing.

use std::path::PathBuf;
use std::process::Command;

use capstan_tests::{Setup, guests};

use crate::{CAPSTAN, command, command_for};

/// Returns the path of a program, or `None` if it was not fetched.
pub(crate) fn prebuilt(name: &str) -> Option<PathBuf> {
    let path = guests::compiled_path(&format!("prebuilt/{name}"));
    if !path.exists() {
        eprintln!("{name} was not fetched, so this checks nothing");
        return None;
    }
    Some(path)
}

#[tokio::test]
async fn cpython_moves_large_data_and_reports_lack_of_memory() {
    let Some(python) = prebuilt("python") else { return };
    let script = "\
import os, sys
print(len(open('/in/large', 'rb').read()), len(os.urandom(64 << 20)))
sys.stdout.flush()
print('x' * 20_000_000)
print(len(sys.stdin.buffer.read()))
for name in os.listdir('/in/many'):
    os.remove('/in/many/' + name)
os.rmdir('/in/many')
try:
    open('/nowhere')
except OSError as error:
    print(error.errno)
";
    let run = command().file("script.py", script.as_bytes()).stdin(vec![b'y'; 30_000_000]);
    std::fs::create_dir(run.folder().join("many")).unwrap();
    for number in 0..200 {
        std::fs::write(run.folder().join(format!("many/{number}")), "").unwrap();
    }
    let run = run.file("large", &vec![0; 10_000_000]);
    let args = ["run", "--dir", ".::/in", "--memory", "512MiB", python.to_str().unwrap(), "/in/script.py"];
    let finished = run.args(args).run().await.assert_exit_code(0);
    let lines: Vec<_> = finished.text().lines().collect();
    assert_eq!((lines[0], lines[1].len(), lines[2], lines[3]), ("10000000 67108864", 20_000_000, "30000000", "44"));

    let denied = command().args(["run", python.to_str().unwrap(), "-c", "b'a' * 10**9"]);
    let finished = denied.run().await.assert_exit_code(137);
    assert!(finished.stderr.contains("MemoryError") && finished.stderr.contains("--memory"), "{finished:?}");
}

#[tokio::test]
async fn quickjs_evaluates_an_expression() {
    let Some(quickjs) = prebuilt("quickjs") else { return };
    let run = command().args(["run", quickjs.to_str().unwrap(), "-e", "console.log(6 * 7)"]);
    assert_eq!(run.run().await.assert_exit_code(0).text(), "42\n");
}

/// The runs share the interpreter with its modules, but none of what a run of its own must have.
#[tokio::test]
async fn cpython_from_a_snapshot_has_arguments_variables_and_random_numbers_of_its_run() {
    let Some(python) = prebuilt("python") else { return };
    let folder = tempfile::tempdir().unwrap();
    let (program, jobs) = (folder.path().join("python.wasm"), guests::root().join("jobs/snapshots"));
    let built = Command::new("python3").arg(jobs.join("python.py")).args([&python, &program]).status().unwrap();
    assert!(built.success());
    std::fs::copy(jobs.join("python.toml"), folder.path().join("runtime.toml")).unwrap();

    let setup = Setup::new(CAPSTAN);
    let work = setup.folder_with_mode("work", 0o755);
    let daemon = setup.config(&format!("[mounts.work]\npath = {work:?}\naccess = \"rw\"")).start();
    let capstan = |args: &[&str]| command_for(&daemon).args(args.iter().copied()).run();
    // Without a timeout: it compiles the interpreter twice, which takes minutes on a busy machine.
    let host = format!("unix://{}", daemon.unix().display());
    let add = Command::new(CAPSTAN).args(["-H", &host, "runtime", "add", "python"]).arg(folder.path()).status();
    assert!(add.unwrap().success());

    // A script shares the snapshot: without an interpreter to compile, its push has no need of the compiler.
    let compiled = async || {
        let metrics = daemon.client().get("/v1/metrics").send().await;
        let line = metrics.text().lines().find(|line| line.starts_with("capstan_compiles_total{result=\"compiled\"}"));
        line.unwrap().to_owned()
    };
    let before = compiled().await;
    let push = command_for(&daemon).file("hi.py", b"import sys; print('hi', sys.argv[1:], 'json' in sys.modules)");
    push.args(["push", "--from", "python", "hi.py"]).run().await.assert_exit_code(0);
    assert_eq!(capstan(&["run", "hi", "a"]).await.assert_exit_code(0).text(), "hi ['a'] True\n");
    assert_eq!(compiled().await, before);

    let script = "\
import json, os, random, sys, tempfile
name = next(tempfile._get_candidate_names())
print(json.dumps([sys.argv, os.environ.get('NUMBER'), '' in sys.path, random.random(), name, 'json' in sys.modules]))";
    let mut lines = Vec::new();
    for number in ["1", "2"] {
        let variable = format!("NUMBER={number}");
        let finished = capstan(&["run", "--env", &variable, "python", "-c", script, number]).await.assert_exit_code(0);
        let line: serde_json::Value = serde_json::from_str(finished.text()).unwrap();
        assert_eq!((&line[0][1], &line[1], &line[2]), (&number.into(), &number.into(), &true.into()), "{line}");
        lines.push(line);
    }
    assert!(lines[0][3] != lines[1][3] && lines[0][4] != lines[1][4], "{lines:?}");

    let finished = capstan(&["run", "python", "-c", "import sys; print('out'); sys.exit(7)"]).await.assert_exit_code(7);
    assert_eq!(finished.text(), "out\n");
    let finished = capstan(&["run", "python", "-c", "1/0"]).await.assert_exit_code(1);
    assert!(finished.stderr.contains("ZeroDivisionError"), "{finished:?}");
    // The script leaves a file open, and has mounts that the initialisation had not.
    let script = "file = open('/work/file', 'w'); file.write('text')";
    capstan(&["run", "--mount", "work:rw", "python", "-c", script]).await.assert_exit_code(0);
    assert_eq!(std::fs::read_to_string(work.join("file")).unwrap(), "text");
}
