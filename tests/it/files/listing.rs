//! Directories that change while they are listed, and entries that WASI cannot express.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::UnixListener;

use capstan_tests::guests;
use serde_json::json;

use super::disk::MountFixture;
use crate::PROBES;

#[tokio::test]
async fn files_removed_while_their_directory_is_listed_are_all_found() {
    let fixture = MountFixture::new().await;
    fixture.client.push("sweep", guests::compiled("sweep")).await;
    for count in [1, 200, 5000] {
        let directory = fixture.path("work/full");
        fs::create_dir(&directory).unwrap();
        for number in 0..count {
            fs::File::create(directory.join(format!("a-file-with-a-long-name-{number:05}"))).unwrap();
        }
        let framed = fixture.run("sweep", json!({}), &["/work/full"]).await;
        assert_eq!(String::from_utf8_lossy(&framed.stdout), format!("{count}\n"), "{}", framed.last);
        assert!(!directory.exists());
    }
}

#[tokio::test]
async fn name_that_is_not_utf8_is_left_out_of_the_listing() {
    let fixture = MountFixture::new().await;
    let name = |bytes: &[u8]| fixture.path("work").join(OsStr::from_bytes(bytes));
    for bytes in [&b"a"[..], b"b\xff", b"\xc3\xbc", b"z"] {
        fs::File::create(name(bytes)).unwrap();
    }
    for probe in PROBES {
        let framed = fixture.run(probe, json!({}), &["ls", "/work"]).await;
        assert_eq!(String::from_utf8_lossy(&framed.stdout), "a\nz\n\u{fc}\n", "{probe}: {}", framed.last);
    }
}

#[tokio::test]
async fn directory_with_a_socket_is_listed() {
    let fixture = MountFixture::new().await;
    fs::create_dir(fixture.path("work/sub")).unwrap();
    let _socket = UnixListener::bind(fixture.path("work/sub/socket")).unwrap();
    fs::File::create(fixture.path("work/sub/file")).unwrap();
    let framed = fixture.run(PROBES[0], json!({}), &["ls", "/work/sub"]).await;
    assert_eq!(String::from_utf8_lossy(&framed.stdout), "file\nsocket\n", "{}", framed.last);
}
