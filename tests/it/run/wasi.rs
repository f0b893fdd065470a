//! What programs of a mainstream toolchain get from WASI, preview 1 and 0.2, and what they do not get. They run the guest `probe`.

use std::time::SystemTime;

use capstan_tests::frames::Framed;
use capstan_tests::{Client, Daemon};

use crate::{CAPSTAN, PROBES, oracle, push_probes};

/// A daemon with both probes pushed.
async fn probed() -> (Daemon, Client) {
    let daemon = Daemon::start(CAPSTAN);
    let client = daemon.client();
    push_probes(&client).await;
    (daemon, client)
}

async fn asked(client: &Client, probe: &str, args: &[&str]) -> Framed {
    args.iter().fold(client.run(probe), |call, arg| call.arg(arg)).framed().send().await.frames()
}

/// The stdout of a probe that must succeed.
async fn told(client: &Client, probe: &str, args: &[&str]) -> String {
    let framed = asked(client, probe, args).await;
    assert_eq!(framed.kind(), "exited", "{probe} {args:?}: {}", framed.last);
    assert_eq!(framed.outcome()["code"], 0, "{probe} {args:?}: {framed:?}");
    String::from_utf8(framed.stdout).unwrap()
}

/// Checks that the host refuses, with an error that the guest can tell of.
async fn refused(client: &Client, args: &[&str]) {
    for probe in PROBES {
        let framed = asked(client, probe, args).await;
        assert_eq!(framed.outcome()["code"], 1, "{probe} {args:?}: {framed:?}");
        assert!(framed.stdout.starts_with(b"error: "), "{probe} {args:?}: {framed:?}");
    }
}

#[tokio::test]
async fn kinds_are_told_apart_by_their_bytes() {
    let (_daemon, client) = probed().await;
    for (probe, kind) in PROBES.iter().zip(["module", "component"]) {
        assert_eq!(client.get(&format!("/v1/handlers/{probe}")).send().await.json()["kind"], kind);
    }
}

#[tokio::test]
async fn args_arrive_as_they_were_given() {
    let (_daemon, client) = probed().await;
    for probe in PROBES {
        let text = told(&client, probe, &["args", "a b", "", "\"", "ünï", "--x=y"]).await;
        assert_eq!(text, "\"a b\"\n\"\"\n\"\\\"\"\n\"ünï\"\n\"--x=y\"\n", "{probe}");
        assert_eq!(told(&client, probe, &["name"]).await.trim(), probe);
    }
}

#[tokio::test]
async fn env_is_ordered_and_nothing_else_is_in_it() {
    let (_daemon, client) = probed().await;
    for probe in PROBES {
        assert_eq!(told(&client, probe, &["env"]).await, "", "{probe}: the host's environment is not the guest's");
        let call = client.run(probe).arg("env").env("Z", "1").env("A", "zwei ü").env("M", "a=b");
        let framed = call.framed().send().await.frames();
        assert_eq!(String::from_utf8(framed.stdout).unwrap(), "Z=1\nA=zwei ü\nM=a=b\n", "{probe}");
    }
}

#[tokio::test]
async fn stdin_and_stdout_are_byte_exact() {
    let (_daemon, client) = probed().await;
    let bytes: Vec<u8> = (0..=255).cycle().take(1_000_000).collect();
    for probe in PROBES {
        let framed = client.run(probe).arg("cat").framed().body(bytes.clone()).send().await.frames();
        framed.ended("exited", 0);
        assert!(framed.stdout == bytes, "{probe}: {} bytes came back", framed.stdout.len());
        let framed = client.run(probe).arg("sum").framed().body("hello").send().await.frames();
        assert_eq!(String::from_utf8(framed.stdout).unwrap(), "5 a430d84680aabd0b\n", "{probe}");
    }
}

#[tokio::test]
async fn stderr_is_a_stream_of_its_own() {
    let (_daemon, client) = probed().await;
    for probe in PROBES {
        let framed = asked(&client, probe, &["both", "100"]).await;
        framed.ended("exited", 0);
        assert_eq!(framed.stdout.iter().filter(|byte| **byte == b'\n').count(), 50, "{probe}");
        assert_eq!(framed.stderr.iter().filter(|byte| **byte == b'\n').count(), 50, "{probe}");
    }
}

#[tokio::test]
async fn much_output_in_small_lines_comes_whole() {
    let (_daemon, client) = probed().await;
    for probe in PROBES {
        let text = told(&client, probe, &["lines", "100000"]).await;
        assert_eq!(text.lines().count(), 100_000, "{probe}");
        assert_eq!(text.lines().last(), Some("line 99999"), "{probe}");
    }
}

#[tokio::test]
async fn exit_codes_are_exact_where_the_interface_can_say_them() {
    let (_daemon, client) = probed().await;
    for code in [0, 1, 7, 125, 126, 255] {
        let framed = asked(&client, "probe.p1", &["exit", &code.to_string()]).await;
        framed.ended("exited", code);
    }
    asked(&client, "probe.p2", &["exit", "0"]).await.ended("exited", 0);
    // Without `exit-with-code` a component can only say that it failed.
    let framed = asked(&client, "probe.p2", &["exit", "7"]).await;
    assert_eq!(framed.kind(), "exited");
    assert!(framed.outcome()["code"] == 1 || framed.outcome()["code"] == 7, "{}", framed.last);
}

#[tokio::test]
async fn a_panic_is_a_trap_with_its_message_on_stderr() {
    let (mut daemon, client) = probed().await;
    for probe in PROBES {
        let framed = asked(&client, probe, &["panic"]).await;
        framed.ended("trapped", 134);
        assert!(String::from_utf8_lossy(&framed.stderr).contains("as asked"), "{probe}: {framed:?}");
        assert!(!framed.outcome()["backtrace"].as_array().unwrap().is_empty(), "{probe}: {}", framed.last);
    }
    oracle::still_answers(&mut daemon).await;
}

#[tokio::test]
async fn the_clock_is_the_hosts() {
    let (_daemon, client) = probed().await;
    for probe in PROBES {
        let told: f64 = told(&client, probe, &["now"]).await.trim().parse().unwrap();
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64();
        assert!((now - told).abs() < 10.0, "{probe}: {told} is not {now}");
        assert_eq!(self::told(&client, probe, &["sleep", "0.02"]).await, "ok\n");
    }
}

#[tokio::test]
async fn there_is_no_file_system() {
    let (mut daemon, client) = probed().await;
    for path in ["/etc/passwd", "etc/passwd", ".", "/", "/proc/self/environ", "/dev/stdin", "../../../etc/passwd"] {
        refused(&client, &["read", path]).await;
    }
    refused(&client, &["write", "/tmp/capstan-was-here", "x"]).await;
    refused(&client, &["ls", "/"]).await;
    refused(&client, &["ls", "."]).await;
    for probe in PROBES {
        assert_eq!(told(&client, probe, &["handles", "10", "/etc/passwd"]).await, "0\n");
    }
    oracle::still_answers(&mut daemon).await;
}

#[tokio::test]
async fn there_is_no_network() {
    let (mut daemon, client) = probed().await;
    // The daemon itself listens there, so that only the sandbox can be in the way.
    refused(&client, &["connect", &daemon.addr().to_string()]).await;
    refused(&client, &["connect", "169.254.169.254:80"]).await;
    refused(&client, &["connect", "localhost:80"]).await;
    oracle::still_answers(&mut daemon).await;
}

#[tokio::test]
async fn limits_hold_for_components_as_for_modules() {
    let (mut daemon, client) = probed().await;
    for probe in PROBES {
        let framed = client.run(probe).arg("spin").framed().query("timeout", "300ms").send().await.frames();
        framed.ended("timed_out", 124);
        let framed =
            client.run(probe).arg("sleep").arg("3600").framed().query("timeout", "300ms").send().await.frames();
        framed.ended("timed_out", 124);
        let framed = client.run(probe).arg("alloc").arg("64").framed().query("memory", "16MiB").send().await.frames();
        assert_ne!(framed.last["exit_code"], 0, "{probe}: {}", framed.last);
        let framed = client.run(probe).arg("alloc").arg("64").framed().query("memory", "128MiB").send().await.frames();
        framed.ended("exited", 0);
    }
    oracle::still_answers(&mut daemon).await;
}
