//! Where the stdin of a guest comes from: files and terminals are read, pipes only with `-i`.

use std::io::{Seek as _, Write as _};
use std::process::Stdio;

use capstan_tests::{Cli, Daemon, guests};

use crate::{CAPSTAN, command, command_for, serving};

/// Returns the command that runs `cat` in process, and the one that runs it on a daemon.
fn both_ways(daemon: &Daemon) -> [(Cli, &'static str); 2] {
    [(command().file("cat.wasm", guests::run::CAT), "./cat.wasm"), (command_for(daemon), "cat")]
}

#[tokio::test]
async fn pipe_that_nobody_closes_is_not_read() {
    let daemon = serving("cat", guests::run::CAT).await;
    for (command, name) in both_ways(&daemon) {
        // The harness holds the other end of the pipe open until the command has ended.
        let finished = command.args(["run", name]).spawn().finish().await.assert_exit_code(0);
        assert_eq!(finished.text(), "", "{name}");
    }
    let submitted = command_for(&daemon).args(["run", "-d", "cat"]).spawn().finish().await.assert_exit_code(0);
    command_for(&daemon).args(["wait", submitted.text().trim()]).run().await.assert_exit_code(0);
}

#[tokio::test]
async fn pipe_is_read_with_interactive() {
    let daemon = serving("cat", guests::run::CAT).await;
    for (command, name) in both_ways(&daemon) {
        let mut running = command.args(["run", "-i", name]).spawn();
        running.feed(b"typed").await;
        running.close_stdin();
        assert_eq!(running.finish().await.assert_exit_code(0).text(), "typed", "{name}");
    }
}

#[tokio::test]
async fn file_is_read_without_moving_the_position_that_a_loop_shares() {
    let daemon = serving("cat", guests::run::CAT).await;
    for (command, name) in both_ways(&daemon) {
        let mut list = tempfile::tempfile().unwrap();
        list.write_all(b"first\nsecond\nthird\n").unwrap();
        // A loop has read its first line.
        list.seek(std::io::SeekFrom::Start(6)).unwrap();
        let run = command.args(["run", name]).stdin_from(list.try_clone().unwrap());
        assert_eq!(run.run().await.assert_exit_code(0).text(), "second\nthird\n", "{name}");
        assert_eq!(list.stream_position().unwrap(), 6, "{name}: the loop has lost its input");
    }
}

#[tokio::test]
async fn stdin_option_names_a_file_or_the_stdin_of_the_command() {
    let daemon = serving("cat", guests::run::CAT).await;
    for (command, name) in both_ways(&daemon) {
        let run = command.file("input", b"from a file").args(["run", "--stdin", "input", name]);
        assert_eq!(run.run().await.assert_exit_code(0).text(), "from a file");
    }
    let mut running = command_for(&daemon).args(["run", "-d", "--stdin", "-", "cat"]).spawn();
    running.feed(&vec![b'x'; 3 << 20]).await;
    running.close_stdin();
    let submitted = running.finish().await.assert_exit_code(0);
    let id = submitted.text().trim().to_owned();
    command_for(&daemon).args(["wait", &id]).run().await.assert_exit_code(0);
    let job = command_for(&daemon).args(["inspect", &id]).run().await.assert_exit_code(0).json();
    assert_eq!(job["usage"]["stdin_bytes"], 3 << 20);
    for args in [&["run", "--stdin", "missing", "cat"][..], &["run", "-i", "--stdin", "-", "cat"]] {
        command_for(&daemon).args(args).run().await.assert_exit_code(125);
    }
}

#[tokio::test]
async fn many_arguments_and_variables_fit_through_a_daemon() {
    let daemon = serving("probe", &guests::compiled("probe.p1")).await;
    let numbers: Vec<_> = (1..=2000).map(|number| number.to_string()).collect();
    let env: Vec<_> = (0..70).flat_map(|number| ["--env".to_owned(), format!("V{number}=x")]).collect();
    let run = command_for(&daemon).arg_list("run", &env, "probe", "args", &numbers);
    let finished = run.run().await.assert_exit_code(0);
    assert_eq!(finished.text().lines().count(), 2000);
    let run = command_for(&daemon).arg_list("run", &env, "probe", "env", &[]);
    assert_eq!(run.run().await.assert_exit_code(0).text().lines().count(), 70);
    // Together they may have 1 MiB. Linux itself limits one argument to 128 KiB.
    let large = vec!["x".repeat(100_000); 9];
    let run = command_for(&daemon).arg_list("run", &[], "probe", "args", &large);
    assert!(run.run().await.assert_exit_code(0).text().len() > 900_000);
    let submit = command_for(&daemon).arg_list("run", &["-d".to_owned()], "probe", "args", &large);
    submit.run().await.assert_exit_code(0);
    let run = command_for(&daemon).arg_list("run", &[], "probe", "args", &vec!["x".repeat(100_000); 11]);
    assert!(run.run().await.assert_exit_code(125).stderr.contains("limit"));
}

#[tokio::test]
async fn guest_knows_which_streams_are_terminals() {
    for probe in ["probe.p1", "probe.p2"] {
        let guest = guests::compiled_path(probe);
        let run = |tail: &str| format!("{CAPSTAN} run {} tty {tail}", guest.display());
        // `script` runs a command on a terminal of its own.
        for (tail, expected) in
            [("", "stdin stdout stderr"), ("</dev/null", "stdout stderr"), ("2>/dev/null", "stdin stdout")]
        {
            let mut script = std::process::Command::new("script");
            script.args(["-qefc", &run(tail), "/dev/null"]).stdin(Stdio::null());
            let output = match tokio::process::Command::from(script).output().await {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    eprintln!("script is not installed, so this checks no terminal");
                    break;
                }
                output => output.unwrap(),
            };
            let text = String::from_utf8_lossy(&output.stdout);
            assert!(text.contains(&format!("terminals: {expected}\r\n")), "{probe} {tail}: {text}");
        }
        // A guest of a daemon, or with pipes, has none.
        let run = command().args(["run", guest.to_str().unwrap(), "tty"]);
        assert_eq!(run.run().await.assert_exit_code(0).text(), "terminals:\n");
    }
}

#[tokio::test]
async fn go_program_continues_while_it_waits_for_stdin() {
    let daemon = serving("ticks", &guests::compiled("ticks")).await;
    let ticks = guests::compiled_path("ticks");
    for (command, name) in [(command(), ticks.to_str().unwrap()), (command_for(&daemon), "ticks")] {
        let mut running = command.args(["run", "-i", name]).spawn();
        running.read_until("tick 5\n").await;
        running.feed(b"hello\n").await;
        running.read_until("line hello\n").await;
        running.finish().await.assert_exit_code(0);
    }
}
