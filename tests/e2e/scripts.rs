//! Scripts: runtimes that are installed in process and on a daemon, `run SCRIPT` and `push --from`.

use std::fs;
use std::path::Path;

use capstan_tests::{Cli, Daemon, guests};
use serde_json::{Value, json};

use crate::prebuilt::prebuilt;
use crate::{CAPSTAN, command, command_for};

/// The data directory of a user, in which runtimes are installed.
struct User(tempfile::TempDir);

impl User {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn command(&self) -> Cli {
        command().env("XDG_DATA_HOME", self.0.path().to_str().unwrap())
    }

    async fn add(&self, name: &str, program: &Path, options: &[&str]) {
        let add = self.command().args(["runtime", "add", name, program.to_str().unwrap()]).args(options);
        add.run().await.assert_exit_code(0);
    }
}

/// A program that prints its arguments and variables, as a runtime for `.x` scripts.
fn show() -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("show.wasm");
    fs::write(&path, guests::run::ARGS_AND_ENV).unwrap();
    (folder, path)
}

fn first_party(job: &str) -> String {
    guests::root().join("jobs").join(job).display().to_string()
}

const CITIES: &str = "jobs/jsonstat/testdata/cities.csv";
const CITIES_NDJSON: &str = "jobs/jsonstat/testdata/cities.ndjson";

fn input(path: &str) -> Vec<u8> {
    fs::read(guests::root().join(path)).unwrap()
}

const REPORT: &str = "\
city     6 rows, 6 different, most often 'Zürich' (1)
country  6 rows, 4 different, most often 'CH' (3)
people   6 rows, 1 empty, 21296 to 443037, mean 173361
height   6 rows, 6 different, most often '408' (1)
";

#[tokio::test]
async fn runtime_is_installed_listed_and_removed() {
    let (user, (_folder, program)) = (User::new(), show());
    let empty = user.command().args(["runtime", "--json"]).run().await.assert_exit_code(0);
    assert_eq!(empty.json(), json!({"runtimes": []}));
    user.add("show", &program, &["--extension", ".x", "--extension", ".y", "--licence", "MIT"]).await;
    user.add("python", &program, &[]).await;
    let listed = user.command().args(["runtime", "ls", "--json"]).run().await.assert_exit_code(0).json();
    let runtimes = listed["runtimes"].as_array().unwrap();
    let digest = runtimes[0]["digest"].as_str().unwrap();
    assert!(digest.starts_with("sha256:") && digest.len() == 71, "{digest}");
    let all = |key: &str| runtimes.iter().map(|runtime| runtime[key].clone()).collect::<Vec<_>>();
    assert_eq!(all("name"), ["python", "show"]);
    assert_eq!(all("extensions"), [json!([".py"]), json!([".x", ".y"])]);
    assert_eq!(all("licence"), ["PSF-2.0", "MIT"]);
    assert_eq!(all("size"), vec![json!(guests::run::ARGS_AND_ENV.len()); 2]);
    let table = user.command().args(["runtime"]).run().await.assert_exit_code(0);
    assert!(table.text().lines().nth(2).unwrap().starts_with("show    .x .y"), "{table:?}");

    user.command().args(["runtime", "rm", "show"]).run().await.assert_exit_code(0);
    let unknown = user.command().args(["runtime", "rm", "show"]).run().await.assert_exit_code(125);
    assert!(unknown.stderr.contains("no runtime show"), "{unknown:?}");
    let left = user.command().args(["runtime", "--json"]).run().await.json();
    assert_eq!(left["runtimes"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn runtime_is_installed_from_a_directory_with_a_manifest() {
    let (user, (folder, _)) = (User::new(), show());
    // The tables of `capstan build` and `capstan test` do no harm.
    let manifest = "argv0 = \"sh\"\nenv = { A = \"1\" }\n[runtime]\nextensions = [\".x\"]\nargs = [\"-q\"]\n\
        [build]\nlang = \"c\"\n[[test]]\nname = \"a\"\n";
    fs::write(folder.path().join("runtime.toml"), manifest).unwrap();
    user.add("show", folder.path(), &[]).await;
    let run = user.command().file("my script.x", b"").args(["run", "--env", "B=2", "my script.x", "--flag", "b"]);
    let finished = run.run().await.assert_exit_code(0);
    assert_eq!(finished.text(), "sh\0-q\0/app/my script.x\0--flag\0b\0\nA=1\0B=2\0");
    fs::write(folder.path().join("other.wasm"), "").unwrap();
    let two = user.command().args(["runtime", "add", "show", folder.path().to_str().unwrap()]).run().await;
    assert!(two.assert_exit_code(125).stderr.contains("exactly one .wasm"));
}

#[tokio::test]
async fn runtime_that_cannot_be_installed_says_why() {
    let (user, (_folder, program)) = (User::new(), show());
    let program = program.to_str().unwrap();
    for (args, expected) in [
        (&["nowhere", program][..], "--extension"),
        (&["a b", program], "not a valid name"),
        (&["python", "no-such.wasm"], "no-such.wasm"),
        (&["python", "text.wasm"], "not a WebAssembly program"),
        (&["python", program, "--extension", "py"], "is not a dot and an extension"),
    ] {
        let add = user.command().file("text.wasm", b"#!/bin/sh\n").args(["runtime", "add"]).args(args);
        let finished = add.run().await.assert_exit_code(125);
        assert!(finished.stderr.contains(expected), "{args:?}: {finished:?}");
    }
    assert_eq!(user.command().args(["runtime", "--json"]).run().await.json(), json!({"runtimes": []}));
}

#[tokio::test]
async fn script_without_a_runtime_says_how_to_install_one() {
    let run = |name: &str| command().file(name, b"").args(["run", name]).run();
    let python = run("a.py").await.assert_exit_code(125);
    assert!(python.stderr.contains("capstan runtime add python") && python.stderr.contains("PyPI"), "{python:?}");
    let ruby = run("ü b.rb").await.assert_exit_code(125);
    assert!(ruby.stderr.contains("capstan runtime add ruby"), "{ruby:?}");
    let missing = command().args(["run", "./no-such.py"]).run().await.assert_exit_code(125);
    assert!(missing.stderr.contains("runtime add") || missing.stderr.contains("no-such.py"), "{missing:?}");
    let daemon = Daemon::start(CAPSTAN);
    for detach in [&[][..], &["-d"]] {
        let run = command_for(&daemon).file("a.js", b"").args(["run"]).args(detach).args(["./a.js"]);
        let on_daemon = run.run().await.assert_exit_code(125);
        assert!(on_daemon.stderr.contains("-H ADDR runtime add javascript"), "{on_daemon:?}");
    }
}

#[tokio::test]
async fn files_of_a_run_in_process_are_read_only_at_app() {
    let user = User::new();
    for probe in ["probe.p1", "probe.p2"] {
        let path = guests::compiled_path(probe);
        let run = |args: &[&str]| {
            let command = command().file("f.txt", b"content");
            fs::create_dir(command.folder().join("d")).unwrap();
            command.args(["run", "--app", "."]).args([&path]).args(args).run()
        };
        assert_eq!(run(&["read", "/app/f.txt"]).await.assert_exit_code(0).text(), "content");
        let written = run(&["write", "/app/f.txt", "x"]).await;
        assert_ne!(written.code, Some(0), "{written:?}");
        assert_eq!(written.read("f.txt"), b"content");
    }
    let (_folder, program) = show();
    user.add("show", &program, &["--extension", ".x"]).await;
    let run = |script: &str| {
        let command = user.command().file("b.x", b"");
        fs::create_dir(command.folder().join("app")).unwrap();
        fs::write(command.folder().join("app/a.x"), "").unwrap();
        command.args(["run", "--app", "app", script]).run()
    };
    let finished = run("app/a.x").await.assert_exit_code(0);
    assert!(finished.text().starts_with("show\0/app/a.x\0\n"), "{finished:?}");
    let outside = run("./b.x").await.assert_exit_code(125);
    assert!(outside.stderr.contains("does not lie in app"), "{outside:?}");
    let handler = command().args(["run", "--app", ".", "wc"]).run().await.assert_exit_code(125);
    assert!(handler.stderr.contains("--app"), "{handler:?}");
}

#[tokio::test]
async fn script_is_pushed_from_a_file_a_directory_or_a_manifest() {
    let daemon = Daemon::start(CAPSTAN);
    let (_folder, program) = show();
    let add = command_for(&daemon).args(["runtime", "add", "show", program.to_str().unwrap(), "--extension", ".x"]);
    add.run().await.assert_exit_code(0);
    let push = |args: &[&str]| {
        let manifest = "name = \"named\"\nfiles = \"app\"\n[program]\nfrom = \"show\"\nargs = [\"/app/ü/b.x\"]\n";
        let command = command_for(&daemon).file("my script.x", b"1").file("job.toml", manifest.as_bytes());
        fs::create_dir_all(command.folder().join("app/ü")).unwrap();
        fs::write(command.folder().join("app/ü/b.x"), "2").unwrap();
        fs::write(command.folder().join("app/main.txt"), "3").unwrap();
        std::os::unix::fs::symlink("main.txt", command.folder().join("app/link")).unwrap();
        command.args(["push", "--json"]).args(args).run()
    };
    for (args, name, entries, shown) in [
        (&["--from", "show", "my script.x"][..], "my-script", 1, "/app/my script.x"),
        (&["report", "--from", "show", "my script.x"], "report", 1, "/app/my script.x"),
        (&["--manifest", "job.toml"], "named", 4, "/app/ü/b.x"),
        (&["other", "--manifest", "job.toml"], "other", 4, "/app/ü/b.x"),
    ] {
        let pushed = push(args).await.assert_exit_code(0);
        let handler = pushed.json();
        assert_eq!((&handler["name"], &handler["files"]["entries"]), (&json!(name), &json!(entries)), "{handler}");
        assert!(pushed.stderr.contains(&format!("pushed {name} from show")), "{pushed:?}");
        let run = command_for(&daemon).args(["run", name, "--more"]).run().await.assert_exit_code(0);
        assert_eq!(run.text().split_once('\n').unwrap().0, format!("show\0{shown}\0--more\0"));
    }
    let inspected = command_for(&daemon).args(["handlers", "--json", "inspect", "report"]).run().await.json();
    assert_eq!((&inspected["base"]["name"], &inspected["base"]["state"]), (&json!("show"), &json!("current")));
    let listed = command_for(&daemon).args(["runtime", "--json"]).run().await.json();
    assert_eq!(listed["runtimes"][0]["name"], "show");

    let unknown = push(&["--from", "nobody", "my script.x"]).await.assert_exit_code(125);
    assert!(unknown.stderr.contains("nobody"), "{unknown:?}");
    let both = push(&["--from", "show", program.to_str().unwrap()]).await.assert_exit_code(125);
    assert!(both.stderr.contains("leave out one"), "{both:?}");
    let refused = command_for(&daemon).args(["runtime", "rm", "report"]).run().await.assert_exit_code(125);
    assert!(refused.stderr.contains("no runtime"), "{refused:?}");
    command_for(&daemon).args(["runtime", "rm", "show"]).run().await.assert_exit_code(0);
    let inspected = command_for(&daemon).args(["handlers", "--json", "inspect", "report"]).run().await.json();
    assert_eq!(inspected["base"]["state"], "removed");
    command_for(&daemon).args(["run", "report"]).run().await.assert_exit_code(0);
}

#[tokio::test]
async fn directory_that_cannot_be_packed_says_what_is_wrong() {
    let daemon = Daemon::start(CAPSTAN);
    command_for(&daemon).file("show.wasm", guests::run::ARGS_AND_ENV).args(["push", "show.wasm"]).run().await;
    for (name, target, expected) in
        [("out", "/etc/passwd", "symlink"), ("up", "../../x", "symlink"), ("dir", ".", "symlink to a directory")]
    {
        let push = command_for(&daemon);
        fs::create_dir(push.folder().join("app")).unwrap();
        std::os::unix::fs::symlink(target, push.folder().join("app").join(name)).unwrap();
        let finished = push.args(["push", "x", "--from", "show", "app"]).run().await.assert_exit_code(125);
        assert!(finished.stderr.contains(expected) && finished.stderr.contains(name), "{finished:?}");
    }
}

#[tokio::test]
async fn cpython_runs_scripts_in_process_and_on_a_daemon() {
    let Some(python) = prebuilt("python") else { return };
    let user = User::new();
    user.add("python", &python, &[]).await;
    let app = first_party("report/app");
    let script = format!("{app}/main.py");
    let run = user.command().args(["run", "--app", &app, &script]).stdin(input(CITIES));
    assert_eq!(run.run().await.assert_exit_code(0).text(), REPORT);
    let alone = b"\
import sys
from pathlib import Path
beside = Path(__file__).with_name('beside.py')
print(sys.argv, beside.exists(), sys.dont_write_bytecode)
sys.exit(3)
";
    let run = user.command().file("a b.py", alone).file("beside.py", b"").args(["run", "a b.py", "x", "--y"]);
    assert_eq!(run.run().await.assert_exit_code(3).text(), "['/app/a b.py', 'x', '--y'] False True\n");

    let daemon = Daemon::start(CAPSTAN);
    command_for(&daemon).args(["runtime", "add", "python", python.to_str().unwrap()]).run().await.assert_exit_code(0);
    let manifest = first_party("report/job.toml");
    command_for(&daemon).args(["push", "--manifest", &manifest]).run().await.assert_exit_code(0);
    let run = command_for(&daemon).args(["run", "report"]).stdin(input(CITIES));
    assert_eq!(run.run().await.assert_exit_code(0).text(), REPORT);
    let run = command_for(&daemon).args(["run", "report", "--column", "nothing"]).stdin(input(CITIES));
    let failed = run.run().await.assert_exit_code(1);
    assert!(failed.stderr.contains("no column 'nothing'"), "{failed:?}");
    // A script that is not pushed is a temporary handler.
    let run = command_for(&daemon).file("a b.py", alone).args(["run", "./a b.py", "x"]);
    assert_eq!(run.run().await.assert_exit_code(3).text(), "['/app/a b.py', 'x'] False True\n");
    let run = command_for(&daemon).args(["run", "--app", &app, &script]).stdin(input(CITIES));
    assert_eq!(run.run().await.assert_exit_code(0).text(), REPORT);
    let detached = command_for(&daemon).file("a.py", b"print('done')").args(["run", "-d", "a.py"]);
    let id = detached.run().await.assert_exit_code(0).text().trim().to_owned();
    command_for(&daemon).args(["wait", &id]).run().await.assert_exit_code(0);
    assert_eq!(command_for(&daemon).args(["logs", &id]).run().await.text(), "done\n");
    let handlers = command_for(&daemon).args(["commands"]).run().await;
    assert!(!handlers.text().contains("run-"), "{handlers:?}");
}

#[tokio::test]
async fn quickjs_runs_scripts_in_process_and_on_a_daemon() {
    let Some(quickjs) = prebuilt("quickjs") else { return };
    let user = User::new();
    user.add("javascript", &quickjs, &[]).await;
    let script = first_party("tally/main.js");
    let expected = "3\tCH\n1\tNL\n";
    let run = user.command().args(["run", &script, "country", "--top", "2"]).stdin(input(CITIES_NDJSON));
    assert_eq!(run.run().await.assert_exit_code(0).text(), expected);
    let module = b"import { answer } from './lib.mjs';\nconsole.log(answer, scriptArgs.slice(1).join(' '));\n";
    let run = user.command().file("a.mjs", module).file("lib.mjs", b"export const answer = 42;");
    let run = run.args(["run", "--app", ".", "a.mjs", "x"]);
    assert_eq!(run.run().await.assert_exit_code(0).text(), "42 x\n");

    let daemon = Daemon::start(CAPSTAN);
    let add = command_for(&daemon).args(["runtime", "add", "javascript", quickjs.to_str().unwrap()]);
    add.run().await.assert_exit_code(0);
    let manifest = first_party("tally/job.toml");
    let pushed = command_for(&daemon).args(["push", "--json", "--manifest", &manifest]).run().await;
    assert_eq!(pushed.assert_exit_code(0).json()["base"]["name"], Value::from("javascript"));
    let run = command_for(&daemon).args(["run", "tally", "country", "--top", "2"]).stdin(input(CITIES_NDJSON));
    assert_eq!(run.run().await.assert_exit_code(0).text(), expected);
    let broken = command_for(&daemon).args(["run", "tally", "country"]).stdin("{\n");
    let broken = broken.run().await.assert_exit_code(1);
    assert!(broken.stderr.contains("tally: line 1"), "{broken:?}");
}
