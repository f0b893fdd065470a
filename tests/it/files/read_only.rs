//! A read-only mount cannot be changed in any way, including its times and links.

use std::fs;

use serde_json::json;

use crate::files::escapes::{CALLS, EscapeFixture, result_of, snapshot};
use crate::{PROBES, oracle};

/// Calls that change nothing.
const READING: [&str; 6] = ["open", "open-nofollow", "open-directory", "stat", "stat-nofollow", "readlink"];

#[tokio::test]
async fn no_call_changes_a_read_only_mount() {
    let requested = json!({"mounts": [{"name": "work"}, {"name": "more", "access": "rw"}]});
    let mut fixture = EscapeFixture::asking(requested.clone()).await;
    fs::create_dir(fixture.mounts.path("work/empty")).unwrap();
    let work = fixture.mounts.path("work");
    let before = [snapshot(&work), snapshot(&work.join("sub"))];
    for probe in PROBES {
        for call in CALLS.iter().filter(|call| !READING.contains(call)) {
            for path in ["inside", "new", "sub", "empty", "sub/file", "sub/new"] {
                assert_eq!(fixture.call(probe, call, path.as_bytes()).await, "not-permitted", "{probe} {call} {path}");
                assert_eq!([snapshot(&work), snapshot(&work.join("sub"))], before, "{probe} {call} {path}");
            }
        }
        fs::write(fixture.mounts.path("more/f"), "mine").unwrap();
        for (args, code) in [
            (&["put", "/work/inside", "1", "1"][..], "not-permitted"),
            (&["at", "/work/inside", "0", "x"], "not-permitted"),
            (&["append", "/work/inside", "x"], "not-permitted"),
            (&["resize", "/work/inside", "0"], "not-permitted"),
            (&["rename", "/more/f", "/work/f"], "cross-device"),
            (&["rename", "/work/inside", "/more/g"], "cross-device"),
            (&["link", "/more/f", "/work/f"], "cross-device"),
            (&["link", "/work/inside", "/more/g"], "cross-device"),
        ] {
            let framed = fixture.mounts.run(probe, requested.clone(), args).await;
            assert_eq!(result_of(&framed), code, "{probe} {args:?}");
        }
        assert_eq!([snapshot(&work), snapshot(&work.join("sub"))], before, "{probe}");
    }
    assert_eq!(fs::read_to_string(work.join("inside")).unwrap(), "inside");
    oracle::still_answers(&mut fixture.mounts.daemon).await;
}
