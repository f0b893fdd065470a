//! What programs of a common toolchain can and cannot do with WASI preview 1 and 0.2. They run the guest `probe`.

use std::time::SystemTime;

use capstan_tests::frames::Framed;
use capstan_tests::{Client, Daemon};

use crate::{CAPSTAN, PROBES, oracle, push_probes};

/// Starts a daemon with both probes.
async fn daemon_with_probes() -> (Daemon, Client) {
    let daemon = Daemon::start(CAPSTAN);
    let client = daemon.client();
    push_probes(&client).await;
    (daemon, client)
}

async fn run_probe(client: &Client, probe: &str, args: &[&str]) -> Framed {
    args.iter().fold(client.run(probe), |call, arg| call.arg(arg)).framed().send().await.frames()
}

/// Runs a probe that must succeed, and returns its stdout.
async fn stdout_of(client: &Client, probe: &str, args: &[&str]) -> String {
    let framed = run_probe(client, probe, args).await;
    assert_eq!(framed.kind(), "exited", "{probe} {args:?}: {}", framed.last);
    assert_eq!(framed.outcome()["code"], 0, "{probe} {args:?}: {framed:?}");
    String::from_utf8(framed.stdout).unwrap()
}

/// Checks that the host rejects a call with an error that the guest can print.
async fn assert_host_error(client: &Client, args: &[&str]) {
    for probe in PROBES {
        let framed = run_probe(client, probe, args).await;
        assert_eq!(framed.outcome()["code"], 1, "{probe} {args:?}: {framed:?}");
        assert!(framed.stdout.starts_with(b"error: "), "{probe} {args:?}: {framed:?}");
    }
}

#[tokio::test]
async fn modules_and_components_are_detected_by_their_bytes() {
    let (_daemon, client) = daemon_with_probes().await;
    for (probe, kind) in PROBES.iter().zip(["module", "component"]) {
        assert_eq!(client.get(&format!("/v1/handlers/{probe}")).send().await.json()["kind"], kind);
    }
}

#[tokio::test]
async fn args_arrive_unchanged() {
    let (_daemon, client) = daemon_with_probes().await;
    for probe in PROBES {
        let text = stdout_of(&client, probe, &["args", "a b", "", "\"", "ünï", "--x=y"]).await;
        assert_eq!(text, "\"a b\"\n\"\"\n\"\\\"\"\n\"ünï\"\n\"--x=y\"\n", "{probe}");
        assert_eq!(stdout_of(&client, probe, &["name"]).await.trim(), probe);
    }
}

#[tokio::test]
async fn env_is_ordered_and_contains_nothing_else() {
    let (_daemon, client) = daemon_with_probes().await;
    for probe in PROBES {
        assert_eq!(stdout_of(&client, probe, &["env"]).await, "", "{probe}: the host's environment is not the guest's");
        let call = client.run(probe).arg("env").env("Z", "1").env("A", "zwei ü").env("M", "a=b");
        let framed = call.framed().send().await.frames();
        assert_eq!(String::from_utf8(framed.stdout).unwrap(), "Z=1\nA=zwei ü\nM=a=b\n", "{probe}");
    }
}

#[tokio::test]
async fn stdin_and_stdout_are_byte_exact() {
    let (_daemon, client) = daemon_with_probes().await;
    let bytes: Vec<u8> = (0..=255).cycle().take(1_000_000).collect();
    for probe in PROBES {
        let framed = client.run(probe).arg("cat").framed().body(bytes.clone()).send().await.frames();
        framed.assert_outcome("exited", 0);
        assert!(framed.stdout == bytes, "{probe}: {} bytes came back", framed.stdout.len());
        let framed = client.run(probe).arg("sum").framed().body("hello").send().await.frames();
        assert_eq!(String::from_utf8(framed.stdout).unwrap(), "5 a430d84680aabd0b\n", "{probe}");
    }
}

#[tokio::test]
async fn stderr_is_separate_from_stdout() {
    let (_daemon, client) = daemon_with_probes().await;
    for probe in PROBES {
        let framed = run_probe(&client, probe, &["both", "100"]).await;
        framed.assert_outcome("exited", 0);
        assert_eq!(framed.stdout.iter().filter(|byte| **byte == b'\n').count(), 50, "{probe}");
        assert_eq!(framed.stderr.iter().filter(|byte| **byte == b'\n').count(), 50, "{probe}");
    }
}

#[tokio::test]
async fn large_output_in_short_lines_is_complete() {
    let (_daemon, client) = daemon_with_probes().await;
    for probe in PROBES {
        let text = stdout_of(&client, probe, &["lines", "100000"]).await;
        assert_eq!(text.lines().count(), 100_000, "{probe}");
        assert_eq!(text.lines().last(), Some("line 99999"), "{probe}");
    }
}

#[tokio::test]
async fn exit_codes_are_exact_where_the_interface_supports_them() {
    let (_daemon, client) = daemon_with_probes().await;
    for code in [0, 1, 7, 125, 126, 255] {
        let framed = run_probe(&client, "probe.p1", &["exit", &code.to_string()]).await;
        framed.assert_outcome("exited", code);
    }
    run_probe(&client, "probe.p2", &["exit", "0"]).await.assert_outcome("exited", 0);
    // Without `exit-with-code` a component can only report failure.
    let framed = run_probe(&client, "probe.p2", &["exit", "7"]).await;
    assert_eq!(framed.kind(), "exited");
    assert!(framed.outcome()["code"] == 1 || framed.outcome()["code"] == 7, "{}", framed.last);
}

#[tokio::test]
async fn panic_is_a_trap_with_its_message_on_stderr() {
    let (mut daemon, client) = daemon_with_probes().await;
    for probe in PROBES {
        let framed = run_probe(&client, probe, &["panic"]).await;
        framed.assert_outcome("trapped", 134);
        assert!(String::from_utf8_lossy(&framed.stderr).contains("as asked"), "{probe}: {framed:?}");
        assert!(!framed.outcome()["backtrace"].as_array().unwrap().is_empty(), "{probe}: {}", framed.last);
    }
    oracle::still_answers(&mut daemon).await;
}

#[tokio::test]
async fn guest_sees_the_host_clock() {
    let (_daemon, client) = daemon_with_probes().await;
    for probe in PROBES {
        let reported: f64 = stdout_of(&client, probe, &["now"]).await.trim().parse().unwrap();
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64();
        assert!((now - reported).abs() < 10.0, "{probe}: {reported} is not {now}");
        assert_eq!(self::stdout_of(&client, probe, &["sleep", "0.02"]).await, "ok\n");
    }
}

#[tokio::test]
async fn guest_has_no_file_system_by_default() {
    let (mut daemon, client) = daemon_with_probes().await;
    for path in ["/etc/passwd", "etc/passwd", ".", "/", "/proc/self/environ", "/dev/stdin", "../../../etc/passwd"] {
        assert_host_error(&client, &["read", path]).await;
    }
    assert_host_error(&client, &["write", "/tmp/capstan-was-here", "x"]).await;
    assert_host_error(&client, &["ls", "/"]).await;
    assert_host_error(&client, &["ls", "."]).await;
    for probe in PROBES {
        assert_eq!(stdout_of(&client, probe, &["handles", "10", "/etc/passwd"]).await, "0\n");
    }
    oracle::still_answers(&mut daemon).await;
}

#[tokio::test]
async fn guest_has_no_network_by_default() {
    let (mut daemon, client) = daemon_with_probes().await;
    // The daemon itself listens there, so only the sandbox can block the connection.
    assert_host_error(&client, &["connect", &daemon.addr().to_string()]).await;
    assert_host_error(&client, &["connect", "169.254.169.254:80"]).await;
    assert_host_error(&client, &["connect", "localhost:80"]).await;
    oracle::still_answers(&mut daemon).await;
}

#[tokio::test]
async fn limits_apply_to_modules_and_components() {
    let (mut daemon, client) = daemon_with_probes().await;
    for probe in PROBES {
        let framed = client.run(probe).arg("spin").framed().query("timeout", "300ms").send().await.frames();
        framed.assert_outcome("timed_out", 124);
        let framed =
            client.run(probe).arg("sleep").arg("3600").framed().query("timeout", "300ms").send().await.frames();
        framed.assert_outcome("timed_out", 124);
        let framed = client.run(probe).arg("alloc").arg("64").framed().query("memory", "16MiB").send().await.frames();
        assert_ne!(framed.last["exit_code"], 0, "{probe}: {}", framed.last);
        let framed = client.run(probe).arg("alloc").arg("64").framed().query("memory", "128MiB").send().await.frames();
        framed.assert_outcome("exited", 0);
    }
    oracle::still_answers(&mut daemon).await;
}
