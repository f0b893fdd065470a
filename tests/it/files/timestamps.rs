//! Timestamps at the limits: before 1970, in the year 1,000,000, and the last representable moments.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use serde_json::json;

use crate::files::escapes::{EscapeFixture, result_of};
use crate::{PROBES, oracle};

/// Nanoseconds per second.
const SECOND: u64 = 1_000_000_000;

#[tokio::test]
async fn far_timestamps_are_set_or_rejected() {
    let mut fixture = EscapeFixture::new().await;
    let modified = || fs::metadata(fixture.mounts.path("work/inside")).unwrap().mtime();
    // Preview 1 counts nanoseconds in 64 bits, up to the year 2554. Some file systems store their own maximum instead.
    assert_eq!(fixture.call(PROBES[0], "set-times-to-the-last", b"inside").await, "ok");
    let last = i64::try_from(u64::MAX / SECOND).unwrap();
    assert!((1..=last).contains(&modified()), "{}", modified());
    for (call, outcomes) in [
        ("set-times-to-the-last", &["overflow"][..]),
        ("set-times-to-the-year-1000000", &["ok", "overflow", "invalid"]),
        ("set-times-over-a-second", &["ok", "invalid"]),
    ] {
        let framed =
            fixture.mounts.call(PROBES[1], &json!({}), &["raw", call, "/work"]).body("inside").send().await.frames();
        let reported = result_of(&framed);
        assert!(outcomes.contains(&reported.as_str()), "{call}: {reported}");
        assert!(modified() >= 0, "{call}: {}", modified());
    }
    let framed = fixture.mounts.run(PROBES[1], json!({}), &["read", "/work/inside"]).await;
    assert_eq!(String::from_utf8_lossy(&framed.stdout), "inside");
    fixture.check("times");
    oracle::still_answers(&mut fixture.mounts.daemon).await;
}
