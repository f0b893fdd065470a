//! When a client is too late, by a clock that the tests turn.

use std::time::Duration;

use capstan_core::outcome::CancelledBy;
use capstan_core::policy::Ceiling;
use capstan_engine::engine::{Config, Engine};
use capstan_engine::handler::Native;
use capstan_listen::listener::Stream;
use tokio::net::UnixStream;

use super::super::body;
use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn pace() -> (Arc<Pace>, UnixStream) {
    let (client, served) = UnixStream::pair().unwrap();
    (Pace::new(Bounds::default(), Presence::new(Stream::Unix(served))), client)
}

/// What the client is late with, and after how many seconds from now.
async fn late(pace: &Pace) -> (Late, u64) {
    let began = Instant::now();
    (pace.late().await, began.elapsed().as_secs())
}

async fn poll(body: &mut Body) -> Option<usize> {
    let frame = std::future::poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await;
    frame.map(|frame| frame.unwrap().into_data().unwrap().len())
}

#[tokio::test(start_paused = true)]
async fn the_first_head_is_waited_for_from_the_connection_on() {
    let (pace, _client) = pace();
    tokio::time::advance(4 * SECOND).await;
    pace.received();
    assert_eq!(late(&pace).await, (Late::Head, 6));
}

#[tokio::test(start_paused = true)]
async fn between_two_requests_there_is_more_time_than_within_a_head() {
    let (pace, _client) = pace();
    drop(pace.begin());
    assert!(pace.is_idle());
    assert_eq!(late(&pace).await, (Late::Idle, 60));
    drop(pace.begin());
    tokio::time::advance(50 * SECOND).await;
    pace.received();
    assert!(!pace.is_idle());
    assert_eq!(late(&pace).await, (Late::Head, 10));
}

#[tokio::test(start_paused = true)]
async fn a_head_that_begins_while_the_time_is_watched_has_its_own() {
    let (pace, _client) = pace();
    drop(pace.begin());
    let watching = tokio::spawn({
        let pace = pace.clone();
        async move { late(&pace).await }
    });
    tokio::time::sleep(35 * SECOND).await;
    pace.received();
    assert_eq!(watching.await.unwrap(), (Late::Head, 45));
}

#[tokio::test(start_paused = true)]
async fn a_connection_of_http_2_says_more_than_heads() {
    let (pace, _client) = pace();
    pace.is_http2();
    pace.received();
    assert_eq!(late(&pace).await, (Late::Idle, 60));
}

#[tokio::test(start_paused = true)]
async fn an_answer_waits_for_its_reader_piece_by_piece() {
    let (pace, _client) = pace();
    let mut body = pace.begin().with(Response::new(body::whole(vec![0; 100_000]))).into_body();
    assert_eq!(body.size_hint().exact(), Some(100_000));
    // While nothing was handed over, it is not the reader that is waited for.
    assert!(tokio::time::timeout(900 * SECOND, pace.late()).await.is_err());
    assert_eq!(poll(&mut body).await, Some(32 << 10));
    tokio::time::advance(20 * SECOND).await;
    assert_eq!(poll(&mut body).await, Some(32 << 10));
    assert_eq!(late(&pace).await, (Late::Reader, 30));
    drop(body);
    assert!(pace.is_idle());
}

#[tokio::test(start_paused = true)]
async fn one_reader_who_is_late_is_enough() {
    let (pace, _client) = pace();
    pace.is_http2();
    let mut late_one = pace.begin().with(Response::new(body::whole(vec![0; 100_000]))).into_body();
    let mut other = pace.begin().with(Response::new(body::whole(vec![0; 100_000]))).into_body();
    poll(&mut late_one).await;
    tokio::time::advance(10 * SECOND).await;
    poll(&mut other).await;
    assert_eq!(late(&pace).await, (Late::Reader, 20));
    drop(late_one);
    assert_eq!(late(&pace).await, (Late::Reader, 10));
}

#[tokio::test(start_paused = true)]
async fn who_follows_what_happens_has_longer() {
    let (pace, _client) = pace();
    let mut response = Response::new(body::whole(vec![0; 100_000]));
    read_as(&mut response, Reading::Follows);
    let mut body = pace.begin().with(response).into_body();
    poll(&mut body).await;
    assert_eq!(late(&pace).await, (Late::Reader, 600));
}

#[tokio::test(start_paused = true)]
async fn a_run_is_bounded_by_its_own_deadline_and_its_reader_once_it_has_ended() {
    let engine = Engine::new(Config { ceiling: Ceiling::default(), runs: 1, queue: 0 });
    engine.register("wait", Native::work("Waits", |call| async move { call.stop.requested().await })).unwrap();
    let job = engine.job("wait").unwrap().build().unwrap();
    job.start().unwrap();
    let (pace, _client) = pace();
    let mut response = Response::new(body::whole(vec![0; 100_000]));
    read_as(&mut response, Reading::Run(job.clone()));
    let mut body = pace.begin().with(response).into_body();
    poll(&mut body).await;
    assert!(tokio::time::timeout(3000 * SECOND, pace.late()).await.is_err());
    job.cancel(CancelledBy::Client);
    job.wait().await;
    assert_eq!(late(&pace).await, (Late::Reader, 600));
}

#[tokio::test(start_paused = true)]
async fn what_was_answered_last_must_be_taken_too() {
    let (pace, _client) = pace();
    drop(pace.begin());
    pace.ends();
    assert!(!pace.is_idle());
    assert_eq!(late(&pace).await, (Late::Reader, 30));
}
