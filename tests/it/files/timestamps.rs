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
    let mut ground = EscapeFixture::new().await;
    let modified = || fs::metadata(ground.granting.path("work/inside")).unwrap().mtime();
    // Preview 1 counts nanoseconds in 64 bits, up to the year 2554. Some file systems store their own maximum instead.
    assert_eq!(ground.call(PROBES[0], "set-times-to-the-last", b"inside").await, "ok");
    let last = i64::try_from(u64::MAX / SECOND).unwrap();
    assert!((1..=last).contains(&modified()), "{}", modified());
    for (call, outcomes) in [
        ("set-times-to-the-last", &["overflow"][..]),
        ("set-times-to-the-year-1000000", &["ok", "overflow", "invalid"]),
        ("set-times-over-a-second", &["ok", "invalid"]),
    ] {
        let framed =
            ground.granting.call(PROBES[1], &json!({}), &["raw", call, "/work"]).body("inside").send().await.frames();
        let told = result_of(&framed);
        assert!(outcomes.contains(&told.as_str()), "{call}: {told}");
        assert!(modified() >= 0, "{call}: {}", modified());
    }
    let framed = ground.granting.ask(PROBES[1], json!({}), &["read", "/work/inside"]).await;
    assert_eq!(String::from_utf8_lossy(&framed.stdout), "inside");
    ground.check("times");
    oracle::still_answers(&mut ground.granting.daemon).await;
}
