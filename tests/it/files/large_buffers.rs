//! Single calls with buffers that are larger than the limit on host copies: they move what they can, and never fail for their size.

use std::fs;

use serde_json::json;

use super::disk::MountFixture;
use crate::PROBES;

const SIZE: usize = 64 << 20;

/// A mount with a file of 64 MiB, and the C guest `bulk`.
async fn fixture() -> MountFixture {
    let fixture = MountFixture::with("[policy]\nmemory = \"512MiB\"").await;
    fs::write(fixture.path("work/large"), vec![b'a'; SIZE]).unwrap();
    fixture.client.push("bulk", capstan_tests::guests::compiled("bulk")).await;
    fixture
}

#[tokio::test]
async fn file_is_read_into_a_buffer_of_64_mib_by_one_call() {
    let fixture = fixture().await;
    let expected = format!("{SIZE} {}\n", SIZE as u64 * u64::from(b'a'));
    let framed = fixture.run("probe.p1", json!({}), &["gulp", "/work/large", &SIZE.to_string()]).await;
    assert_eq!(String::from_utf8_lossy(&framed.stdout), expected, "{}", framed.last);
    // A stream of 0.2 returns less; the call must still succeed.
    let framed = fixture.run("probe.p2", json!({}), &["gulp", "/work/large", &SIZE.to_string()]).await;
    framed.assert_outcome("exited", 0);
    let read: usize = String::from_utf8_lossy(&framed.stdout).split(' ').next().unwrap().parse().unwrap();
    assert!(read > 0, "{}", framed.last);
    for command in ["read", "pread"] {
        let framed = fixture.run("bulk", json!({}), &[command, "/work/large", &SIZE.to_string()]).await;
        assert_eq!(String::from_utf8_lossy(&framed.stdout), format!("{SIZE} 1\n"), "{command}: {}", framed.last);
        assert_eq!(framed.last["usage"]["mounts"][0]["read_bytes"], SIZE, "{command}");
    }
}

#[tokio::test]
async fn file_is_written_from_a_buffer_of_64_mib_by_one_call() {
    let fixture = fixture().await;
    let size = SIZE.to_string();
    for (guest, args) in [
        ("bulk", ["write", "/work/out", &size]),
        ("bulk", ["pwrite", "/work/out", &size]),
        (PROBES[0], ["gush", "/work/out", &size]),
        (PROBES[1], ["gush", "/work/out", &size]),
    ] {
        let framed = fixture.run(guest, json!({}), &args).await;
        framed.assert_outcome("exited", 0);
        let written: usize =
            String::from_utf8_lossy(&framed.stderr).split_whitespace().next().unwrap().parse().unwrap();
        assert!(written > 0 && (guest == PROBES[1] || written == SIZE), "{guest} {args:?}: {written}");
        assert_eq!(fixture.size("work/out"), written as u64, "{guest} {args:?}");
        assert_eq!(framed.last["usage"]["mounts"][0]["written_bytes"], written, "{guest} {args:?}");
        fs::remove_file(fixture.path("work/out")).unwrap();
    }
}

#[tokio::test]
async fn write_from_a_large_buffer_stops_at_the_disk_limit() {
    let fixture = fixture().await;
    let limit = 20_000_000;
    let framed = fixture.run("bulk", json!({"disk": limit}), &["write", "/work/out", &SIZE.to_string()]).await;
    framed.assert_outcome("disk_cap", 137);
    assert_eq!(fixture.size("work/out"), limit);
    assert_eq!(framed.last["usage"]["mounts"][0]["written_bytes"], limit);
}

#[tokio::test]
async fn stdin_of_three_bytes_is_read_into_a_buffer_of_64_mib() {
    let fixture = fixture().await;
    for (guest, command) in [("bulk", "read"), (PROBES[0], "gulp"), (PROBES[1], "gulp")] {
        let call = fixture.call(guest, &json!({}), &[command, "-", &SIZE.to_string()]).body("abc");
        let framed = call.send().await.frames();
        framed.assert_outcome("exited", 0);
        assert!(framed.stdout.starts_with(b"3 "), "{guest}: {}", String::from_utf8_lossy(&framed.stdout));
    }
}

#[tokio::test]
async fn stdout_is_written_from_a_buffer_of_64_mib() {
    let fixture = fixture().await;
    for guest in ["bulk", PROBES[0], PROBES[1]] {
        let command = if guest == "bulk" { "write" } else { "gush" };
        let framed = fixture.run(guest, json!({}), &[command, "-", &SIZE.to_string()]).await;
        framed.assert_outcome("exited", 0);
        let written: usize =
            String::from_utf8_lossy(&framed.stderr).split_whitespace().next().unwrap().parse().unwrap();
        assert!(written > 0 && framed.stdout.len() == written, "{guest}: {written} of {}", framed.stdout.len());
        assert!(guest != "bulk" || written == SIZE, "the C library calls until everything is written: {written}");
    }
}

#[tokio::test]
async fn random_bytes_of_64_mib_come_from_one_call() {
    let fixture = fixture().await;
    let framed = fixture.run("bulk", json!({}), &["random", "-", &SIZE.to_string()]).await;
    assert_eq!(String::from_utf8_lossy(&framed.stdout), format!("{SIZE} 1\n"), "{}", framed.last);
    let framed = fixture.run(PROBES[1], json!({"memory": "512MiB"}), &["dice", &SIZE.to_string()]).await;
    assert_eq!(String::from_utf8_lossy(&framed.stdout), "256\n", "{}", framed.last);
}

#[tokio::test]
async fn random_bytes_beyond_the_memory_limit_are_denied() {
    let fixture = fixture().await;
    let framed = fixture.run(PROBES[1], json!({"memory": "16MiB"}), &["dice", &SIZE.to_string()]).await;
    framed.assert_outcome("memory_denied", 137);
}
