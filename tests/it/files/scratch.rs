//! Scratch directories are not visible to other runs and are removed after a crash.

use std::fs;

use capstan_tests::eventually;
use serde_json::json;

use crate::files::disk::MountFixture;
use crate::{PROBES, oracle};

#[tokio::test]
async fn scratch_of_other_and_crashed_runs_is_not_visible() {
    let fixture = MountFixture::new().await;
    let folder = fixture.path("data/scratch");
    let left = || -> Vec<_> { fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect() };
    let requested = json!({"scratch": "1MiB"});
    let mut cut_off = Vec::new();
    for probe in PROBES {
        fixture
            .run(probe, requested.clone(), &["at", "/scratch/secret", "0", "mine"])
            .await
            .assert_outcome("exited", 0);
        let listed = fixture.run(probe, requested.clone(), &["ls", "/scratch"]).await;
        listed.assert_outcome("exited", 0);
        assert_eq!(String::from_utf8_lossy(&listed.stdout), "", "{probe} after another run has ended");

        let (call, feed) = fixture.call(probe, &requested, &["leave", "/scratch/secret", "mine"]).streaming_body();
        cut_off.push((tokio::spawn(call.try_open()), feed));
        let written = cut_off.len();
        eventually("the run to have written", async || {
            let secrets =
                left().into_iter().filter(|run| fs::read(run.join("secret")).is_ok_and(|text| text == b"mine"));
            (secrets.count() == written).then_some(())
        })
        .await;
        let listed = fixture.run(probe, requested.clone(), &["ls", "/scratch"]).await;
        assert_eq!(String::from_utf8_lossy(&listed.stdout), "", "{probe} while another run continues");
    }
    // Like `kill -9`.
    let setup = fixture.daemon.setup();
    drop(fixture.daemon);
    assert_eq!(left().len(), PROBES.len(), "a killed daemon removes nothing");
    let mut daemon = setup.start();
    assert_eq!(left().len(), 0);
    oracle::still_answers(&mut daemon).await;
}
