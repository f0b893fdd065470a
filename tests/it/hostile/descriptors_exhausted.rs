//! A daemon that has no file descriptors left waits without spinning, and recovers.

use std::time::{Duration, Instant};

use capstan_tests::{Daemon, Raw, eventually};

use crate::{CAPSTAN, oracle};

#[tokio::test]
async fn daemon_without_file_descriptors_waits_and_recovers() {
    let mut daemon = Daemon::start(CAPSTAN);
    oracle::still_answers(&mut daemon).await;
    let mut kept = Raw::connect(&daemon).await;
    kept.write("GET /v1/_ping HTTP/1.1\r\nHost: {host}\r\n\r\n").await;
    assert_eq!(kept.status().await, 200);
    kept.read_exact(3).await.unwrap();

    daemon.limit_open_files(daemon.open_files() as u64 + 8);
    let mut many = Vec::new();
    for _ in 0..32 {
        let mut connection = Raw::connect(&daemon).await;
        connection.write("GET /v1/_ping HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n").await;
        many.push(connection);
    }
    daemon.until_logged(&["cannot accept, trying again in 1s"]).await;
    // From now on the daemon retries once a second. Observe several retries, however long they take on this machine.
    let (began, used) = (Instant::now(), daemon.processor_time());
    let tries = |daemon: &Daemon| daemon.log().matches("trying again in 1s").count();
    let so_far = tries(&daemon);
    eventually("some more retries", async || (tries(&daemon) >= so_far + 3).then_some(())).await;
    let share = (daemon.processor_time() - used).as_secs_f64() / began.elapsed().as_secs_f64();
    assert!(share < 0.05, "waiting for file descriptors takes {:.1} % of a processor", share * 100.0);
    assert!(tries(&daemon) < 100, "the number of log lines must be bounded");
    assert!(began.elapsed() > Duration::from_secs(1), "{:?}", began.elapsed());

    kept.write("GET /v1/_ping HTTP/1.1\r\nHost: {host}\r\n\r\n").await;
    assert_eq!(kept.status().await, 200, "an existing connection must be served");
    // Each finished request frees a descriptor, so that the daemon accepts the next connection.
    for connection in &mut many {
        connection.write("\r\n").await;
    }
    for connection in &mut many {
        assert_eq!(connection.status().await, 200);
    }
    drop((many, kept));
    daemon.limit_open_files(1024);
    oracle::still_answers(&mut daemon).await;
}
