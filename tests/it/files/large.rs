//! Very large files and very many files.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use serde_json::json;

use crate::files::disk::{MountFixture, assert_disk_cap, byte_cap, file_cap};
use crate::{PROBES, oracle};

const TIB: u64 = 1 << 40;

#[tokio::test]
async fn file_of_a_tebibyte_requires_a_limit_of_a_tebibyte() {
    let mut fixture = MountFixture::with("[policy]\ndisk = \"4TiB\"").await;
    for probe in PROBES {
        let path = fixture.path("work/f");
        let resize = |disk: u64, size: u64| (json!({"disk": disk}), ["resize", "/work/f"], size.to_string());
        for (disk, size) in [(1 << 30, TIB), (TIB - 1, TIB), (4 * TIB, 1 << 62), (4 * TIB, u64::MAX >> 1)] {
            let (requested, [command, file], size) = resize(disk, size);
            assert_disk_cap(&fixture.run(probe, requested, &[command, file, &size]).await, &byte_cap(disk));
            assert_eq!(fixture.size("work/f"), 0, "{probe} {size}");
        }
        let framed = fixture.run(probe, json!({"disk": TIB}), &["resize", "/work/f", &TIB.to_string()]).await;
        framed.assert_outcome("exited", 0);
        assert_eq!(framed.last["usage"]["mounts"][0]["written_bytes"], TIB);
        let there = fs::metadata(&path).unwrap();
        assert_eq!((there.size(), there.blocks()), (TIB, 0), "{probe}: the file must be sparse");
        for offset in [1_u64 << 62, (1 << 62) + 1, u64::MAX >> 1] {
            let args = ["at", "/work/f", &offset.to_string(), "x"];
            assert_disk_cap(&fixture.run(probe, json!({"disk": 4 * TIB}), &args).await, &byte_cap(4 * TIB));
        }
        fs::remove_file(path).unwrap();
    }
    oracle::still_answers(&mut fixture.daemon).await;
}

#[tokio::test]
async fn creating_a_million_files_stops_at_the_limit() {
    let mut fixture = MountFixture::new().await;
    for probe in PROBES {
        let framed = fixture.run(probe, json!({"files": 2000}), &["many", "/work/m", "1000000"]).await;
        assert_disk_cap(&framed, &file_cap(2000));
        assert_eq!(framed.last["usage"]["mounts"][0]["files_made"], 2000);
        assert_eq!(fs::read_dir(fixture.path("work")).unwrap().count(), 2000, "{probe}");
        for entry in fs::read_dir(fixture.path("work")).unwrap() {
            fs::remove_file(entry.unwrap().path()).unwrap();
        }
    }
    oracle::still_answers(&mut fixture.daemon).await;
}

#[tokio::test]
async fn directory_with_100000_entries_is_listed_in_bounded_memory() {
    let mut fixture = MountFixture::new().await;
    for number in 0..100_000 {
        fs::File::create(fixture.path("work").join(format!("n{number:06}"))).unwrap();
    }
    for probe in PROBES {
        let before = fixture.daemon.peak_memory();
        let policy = json!({"mounts": [{"name": "work"}], "timeout": "10m"});
        let order = json!({"handler": probe, "args": ["ls", "/work"], "policy": policy}).to_string();
        let job = fixture.client.post("/v1/jobs").body(order).send().await.json();
        let wait = format!("/v1/jobs/{}/wait", job["id"].as_str().unwrap());
        // On a busy machine this takes longer than the timeout of one request.
        let reported = loop {
            let reported = fixture.client.post(&wait).query("timeout", "30").send().await.json();
            if !reported["outcome"].is_null() {
                break reported;
            }
        };
        assert_eq!(reported["outcome"], json!({"kind": "exited", "code": 0}), "{reported}");
        assert_eq!(reported["usage"]["stdout_bytes"], 100_000 * "n000000\n".len(), "{probe}");
        let grown = fixture.daemon.peak_memory().saturating_sub(before);
        assert!(grown < 128 << 20, "{probe}: the daemon grew by {grown} bytes");
    }
    oracle::still_answers(&mut fixture.daemon).await;
}
