//! When timeouts expire, by a clock that the tests advance.

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

fn tracker() -> (Arc<TimeoutTracker>, UnixStream) {
    let (client, served) = UnixStream::pair().unwrap();
    (TimeoutTracker::new(HttpLimits::default(), Peer::new(Stream::Unix(served))), client)
}

/// Returns the timeout that expires, and after how many seconds from now.
async fn expired(timeouts: &TimeoutTracker) -> (Timeout, u64) {
    let started = Instant::now();
    (timeouts.expired().await, started.elapsed().as_secs())
}

async fn next_frame_length(body: &mut Body) -> Option<usize> {
    let frame = std::future::poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await;
    frame.map(|frame| frame.unwrap().into_data().unwrap().len())
}

#[tokio::test(start_paused = true)]
async fn first_head_times_out_from_start_of_connection() {
    let (timeouts, _client) = tracker();
    tokio::time::advance(4 * SECOND).await;
    timeouts.record_input();
    assert_eq!(expired(&timeouts).await, (Timeout::Head, 6));
}

#[tokio::test(start_paused = true)]
async fn idle_timeout_applies_between_requests_and_head_timeout_within_head() {
    let (timeouts, _client) = tracker();
    drop(timeouts.start_response());
    assert!(timeouts.is_idle());
    assert_eq!(expired(&timeouts).await, (Timeout::Idle, 60));
    drop(timeouts.start_response());
    tokio::time::advance(50 * SECOND).await;
    timeouts.record_input();
    assert!(!timeouts.is_idle());
    assert_eq!(expired(&timeouts).await, (Timeout::Head, 10));
}

#[tokio::test(start_paused = true)]
async fn head_that_starts_while_expiry_is_awaited_has_its_own_timeout() {
    let (timeouts, _client) = tracker();
    drop(timeouts.start_response());
    let expiring = tokio::spawn({
        let timeouts = timeouts.clone();
        async move { expired(&timeouts).await }
    });
    tokio::time::sleep(35 * SECOND).await;
    timeouts.record_input();
    assert_eq!(expiring.await.unwrap(), (Timeout::Head, 45));
}

#[tokio::test(start_paused = true)]
async fn input_on_http2_connection_does_not_start_head() {
    let (timeouts, _client) = tracker();
    timeouts.set_http2();
    timeouts.record_input();
    assert_eq!(expired(&timeouts).await, (Timeout::Idle, 60));
}

#[tokio::test(start_paused = true)]
async fn response_timeout_restarts_with_each_frame() {
    let (timeouts, _client) = tracker();
    let mut body = timeouts.start_response().track(Response::new(body::full(vec![0; 100_000]))).into_body();
    assert_eq!(body.size_hint().exact(), Some(100_000));
    // Until the first frame is handed over, the next step is not the reader's.
    assert!(tokio::time::timeout(900 * SECOND, timeouts.expired()).await.is_err());
    assert_eq!(next_frame_length(&mut body).await, Some(32 << 10));
    tokio::time::advance(20 * SECOND).await;
    assert_eq!(next_frame_length(&mut body).await, Some(32 << 10));
    assert_eq!(expired(&timeouts).await, (Timeout::Response, 30));
    drop(body);
    assert!(timeouts.is_idle());
}

#[tokio::test(start_paused = true)]
async fn first_response_that_is_not_read_expires() {
    let (timeouts, _client) = tracker();
    timeouts.set_http2();
    let mut first = timeouts.start_response().track(Response::new(body::full(vec![0; 100_000]))).into_body();
    let mut second = timeouts.start_response().track(Response::new(body::full(vec![0; 100_000]))).into_body();
    next_frame_length(&mut first).await;
    tokio::time::advance(10 * SECOND).await;
    next_frame_length(&mut second).await;
    assert_eq!(expired(&timeouts).await, (Timeout::Response, 20));
    drop(first);
    assert_eq!(expired(&timeouts).await, (Timeout::Response, 10));
}

#[tokio::test(start_paused = true)]
async fn streamed_response_has_longer_timeout() {
    let (timeouts, _client) = tracker();
    let mut response = Response::new(body::full(vec![0; 100_000]));
    set_response_kind(&mut response, ResponseKind::Stream);
    let mut body = timeouts.start_response().track(response).into_body();
    next_frame_length(&mut body).await;
    assert_eq!(expired(&timeouts).await, (Timeout::Response, 600));
}

#[tokio::test(start_paused = true)]
async fn response_of_run_has_timeout_once_run_has_ended() {
    let engine = Engine::new(Config { ceiling: Ceiling::default(), runs: 1, queue: 0 });
    engine.register("wait", Native::work("Waits", |call| async move { call.stop.requested().await })).unwrap();
    let job = engine.job("wait").unwrap().build().unwrap();
    job.start().unwrap();
    let (timeouts, _client) = tracker();
    let mut response = Response::new(body::full(vec![0; 100_000]));
    set_response_kind(&mut response, ResponseKind::Run(job.clone()));
    let mut body = timeouts.start_response().track(response).into_body();
    next_frame_length(&mut body).await;
    assert!(tokio::time::timeout(3000 * SECOND, timeouts.expired()).await.is_err());
    job.cancel(CancelledBy::Client);
    job.wait().await;
    assert_eq!(expired(&timeouts).await, (Timeout::Response, 600));
}

#[tokio::test(start_paused = true)]
async fn last_response_must_be_read_in_time() {
    let (timeouts, _client) = tracker();
    drop(timeouts.start_response());
    timeouts.set_closing();
    assert!(!timeouts.is_idle());
    assert_eq!(expired(&timeouts).await, (Timeout::Response, 30));
}
