//! The language matrix: the conformance job in each language, and every one of its commands. `tests/guests/conformance/README.md` describes them.
//!
//! What a language cannot do is a cell of its row in [`table`], with the reason and with what happens instead, which is checked too.

mod table;

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use capstan_tests::frames::{Framed, Splitter};
use capstan_tests::{Client, Daemon, Setup, guests};
use serde_json::json;

use crate::CAPSTAN;

/// The bytes that the check of large inputs streams.
const STREAM: usize = 64 << 20;

/// The default, and WASI 0.3.
const FEATURES: &str = r#"["memory64", "multi-memory", "exceptions", "gc", "atomics", "component-async", "p3"]"#;

/// One row of the matrix.
struct Language {
    name: &'static str,
    /// The guest, as `guests::compiled` names it.
    program: &'static str,
    /// For an interpreter, the script below `tests/guests/conformance`.
    script: Option<&'static str>,
    /// How programs use files, if not as usual.
    files: &'static str,
    /// What exiting with 7 does.
    exit: Cell,
    /// What raising and catching an error does.
    catch: Cell,
    /// How the command `trap` ends.
    failure: Failure,
}

/// What a command does in a language.
enum Cell {
    Works,
    /// The language or its runtime cannot. The run ends with this exit code, and its stderr contains the text.
    Instead {
        reason: &'static str,
        code: u8,
        stderr: &'static str,
    },
}

/// How a program of the language fails, and where the failure names the function `fail_on_purpose`, in the spelling of the language.
enum Failure {
    /// A trap, with the function in the backtrace of the outcome.
    Backtrace(&'static str),
    /// A trap of the runtime, with the function on stderr. The backtrace has only functions of the interpreter.
    Trap(&'static str),
    /// An exit code of the runtime, with the function on stderr.
    Exit(u8, &'static str),
}

/// A daemon with the program of a language, and the mounts `work` for writing and `app` with the scripts.
struct Fixture {
    language: &'static Language,
    daemon: Daemon,
    client: Client,
}

impl Fixture {
    fn new(language: &'static Language) -> Self {
        let setup = Setup::new(CAPSTAN);
        let work = setup.folder().join("work");
        fs::create_dir(&work).unwrap();
        let app = guests::root().join("tests/guests/conformance");
        let toml = format!(
            "[policy]\nfeatures = {FEATURES}\n[mounts.work]\npath = {:?}\naccess = \"rw\"\n[mounts.app]\npath = {:?}\naccess = \"ro\"\n",
            work.to_str().unwrap(),
            app.to_str().unwrap()
        );
        let daemon = setup.config(&toml).start();
        Self { language, client: daemon.client(), daemon }
    }

    fn call(&self, args: &[&str]) -> capstan_tests::Call {
        let mounts = json!({"mounts": [{"name": "work", "access": "rw"}, {"name": "app", "access": "ro"}]});
        let call = self.client.run("job").query("policy", &mounts.to_string()).framed();
        let script = self.language.script.map(|script| format!("/app/{script}"));
        script.as_deref().into_iter().chain(args.iter().copied()).fold(call, capstan_tests::Call::arg)
    }

    async fn run(&self, args: &[&str]) -> Framed {
        self.call(args).send().await.frames()
    }

    /// Runs a command that must succeed, and returns what it printed.
    async fn print(&self, args: &[&str]) -> String {
        let framed = self.run(args).await;
        framed.assert_outcome("exited", 0);
        String::from_utf8(framed.stdout).unwrap()
    }

    async fn check(&self) {
        assert_eq!(self.print(&["args", "a b", "", "ä", "--x=1"]).await, "a b\n\nä\n--x=1\n");
        self.check_env().await;
        self.check_streams().await;
        self.check_files().await;
        self.check_clock_and_random().await;
        self.check_cell(&["exit", "7"], &self.language.exit, 7, "").await;
        self.check_cell(&["catch"], &self.language.catch, 0, "caught not a number\n").await;
        self.check_failure().await;
        self.check_large_input().await;
    }

    async fn check_env(&self) {
        let framed = self.call(&["env", "GREETING"]).env("GREETING", "hello wörld=1").send().await.frames();
        framed.assert_outcome("exited", 0);
        assert_eq!(String::from_utf8_lossy(&framed.stdout), "hello wörld=1\n");
        let framed = self.run(&["env", "PATH"]).await;
        assert!(!framed.last["exit_code"].is_null() && framed.last["exit_code"] != 0, "PATH is set: {}", framed.last);
    }

    async fn check_streams(&self) {
        let input: Vec<u8> = (0..100_000_u32).map(|number| (number % 251) as u8).collect();
        let framed = self.call(&["cat"]).body(input.clone()).send().await.frames();
        framed.assert_outcome("exited", 0);
        assert!(framed.stdout == input, "stdin is copied unchanged");
        let framed = self.run(&["stderr", "to stderr"]).await;
        framed.assert_outcome("exited", 0);
        assert_eq!((framed.stdout.as_slice(), framed.stderr.as_slice()), (&b""[..], &b"to stderr\n"[..]));
    }

    async fn check_files(&self) {
        let work = self.daemon.setup().folder().join("work");
        let content: Vec<u8> = (0..300_000_u32).map(|number| (number % 253) as u8).collect();
        fs::write(work.join("from"), &content).unwrap();
        self.run(&["copy", "/work/from", "/work/to"]).await.assert_outcome("exited", 0);
        assert!(fs::read(work.join("to")).unwrap() == content, "the file is copied unchanged");
        let framed = self.run(&["copy", "/etc/passwd", "/work/to"]).await;
        assert_ne!(framed.last["exit_code"], 0, "a file outside of the mounts was opened: {}", framed.last);
        let framed = self.run(&["copy", "/work/from", "/app/new"]).await;
        assert_ne!(framed.last["exit_code"], 0, "a file was created in a mount that is read-only: {}", framed.last);
    }

    async fn check_clock_and_random(&self) {
        let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let before = now();
        let printed = self.print(&["clock"]).await;
        let after = now();
        let (seconds, moved) = printed.trim_end().split_once(' ').unwrap_or_else(|| panic!("{printed:?}"));
        assert!((before..=after).contains(&seconds.parse().unwrap()), "{printed:?} is not from {before} to {after}");
        assert!(moved.parse::<f64>().unwrap() > 0.0, "the monotonic clock stands: {printed:?}");

        let first = self.print(&["random"]).await;
        assert!(
            first.trim_end().len() >= 16 && first.trim_end().chars().all(|digit| digit.is_ascii_hexdigit()),
            "{first:?}"
        );
        assert_ne!(first, self.print(&["random"]).await, "two runs have the same random numbers");
    }

    /// Runs a command that works, with this exit code and output, or that does what its cell says.
    async fn check_cell(&self, args: &[&str], cell: &Cell, code: u8, stdout: &str) {
        let framed = self.run(args).await;
        match cell {
            Cell::Works => {
                framed.assert_outcome("exited", code);
                // A destructor may print before.
                assert!(String::from_utf8_lossy(&framed.stdout).ends_with(stdout), "{framed:?}");
            }
            Cell::Instead { reason, code, stderr } => {
                framed.assert_outcome("exited", *code);
                assert!(String::from_utf8_lossy(&framed.stderr).contains(stderr), "{reason}: {framed:?}");
            }
        }
    }

    async fn check_failure(&self) {
        let framed = self.run(&["trap"]).await;
        let stderr = String::from_utf8_lossy(&framed.stderr);
        match self.language.failure {
            Failure::Backtrace(function) => {
                framed.assert_outcome("trapped", 134);
                let frames = framed.outcome()["backtrace"].as_array().unwrap();
                let names = |frame: &serde_json::Value| frame.as_str().is_some_and(|frame| frame.contains(function));
                assert!(frames.iter().any(names), "{}", framed.last);
            }
            Failure::Trap(function) => {
                framed.assert_outcome("trapped", 134);
                assert!(stderr.contains(function), "{framed:?}");
            }
            Failure::Exit(code, function) => {
                framed.assert_outcome("exited", code);
                assert!(stderr.contains(function), "{framed:?}");
            }
        }
    }

    /// Streams more than the memory limit of some runs allows them to keep, and compares while it arrives.
    async fn check_large_input(&self) {
        let block: Vec<u8> = (0..1_u32 << 20).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let (call, feed) = self.call(&["stream"]).streaming_body();
        let sent = block.clone();
        let sender = tokio::spawn(async move {
            for _ in 0..STREAM / sent.len() {
                assert!(feed.send(sent.clone()).await, "the program stopped to read");
            }
        });
        let mut exchange = call.open().await;
        let (mut splitter, mut count, mut stderr, mut last) = (Splitter::default(), 0, Vec::new(), None);
        while let Some(piece) = exchange.piece().await {
            for (stream, payload) in splitter.push(&piece) {
                match stream {
                    1 => count = follow(&block, count, &payload),
                    2 => stderr.extend(payload),
                    _ => last = Some(serde_json::from_slice::<serde_json::Value>(&payload).unwrap()),
                }
            }
        }
        sender.await.unwrap();
        let last = last.expect("the last frame has the outcome");
        assert_eq!(last["outcome"], json!({"kind": "exited", "code": 0}), "{last}");
        assert_eq!((count, String::from_utf8(stderr).unwrap()), (STREAM, format!("{STREAM}\n")));
    }
}

/// Compares the next bytes of an endless repetition of `block`, and returns how many there are now.
fn follow(block: &[u8], mut count: usize, mut payload: &[u8]) -> usize {
    while !payload.is_empty() {
        let expected = &block[count % block.len()..];
        let length = expected.len().min(payload.len());
        assert!(payload[..length] == expected[..length], "the bytes from {count} on are not those that were sent");
        count += length;
        payload = &payload[length..];
    }
    count
}

/// Pushes the program of a language and runs every check.
async fn check(language: &'static Language) {
    let fixture = Fixture::new(language);
    let pushed = fixture.client.put("/v1/handlers/job", guests::compiled(language.program)).send().await;
    assert_eq!(pushed.status, 201, "{}: {pushed:?}", language.name);
    fixture.check().await;
}

/// The matrix in the documentation is the one that these tests check.
#[test]
fn documented_matrix_is_the_tested_one() {
    let page = fs::read_to_string(guests::root().join("docs/languages/matrix.md")).unwrap();
    let rendered = table::render();
    assert!(page.contains(&rendered), "docs/languages/matrix.md must contain this table:\n\n{rendered}");
}
