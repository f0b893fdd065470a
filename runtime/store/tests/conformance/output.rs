//! The output of attempts.

use bytes::Bytes;
use capstan_core::outcome::{Outcome, OutputStream};
use capstan_engine::job_store::{AttemptError, Lease, OutputChunk, OutputPiece, Then};

use crate::work::{Work, limits};

/// Reads all output from `position` in pages of `limit` bytes: what is there, and how much is missing.
pub(crate) async fn read_all(work: &Work<'_>, lease: Lease, mut position: u64, limit: u64) -> (Vec<u8>, u64) {
    let (mut bytes, mut missing) = (Vec::new(), 0);
    loop {
        let page = work.store.read_output(lease, position, limit).await.unwrap().expect("the attempt exists");
        let is_empty = page.pieces.is_empty();
        for piece in page.pieces {
            match piece {
                OutputPiece::Chunk(chunk) => bytes.extend_from_slice(&chunk.bytes),
                OutputPiece::Gap(gap) => missing += gap,
            }
        }
        position = page.next;
        if page.is_end {
            return (bytes, missing);
        }
        assert!(!is_empty, "a page that is not the end has something");
    }
}

async fn start(work: &Work<'_>, handler: &str) -> Lease {
    work.submit_one(handler).await;
    work.claim_one().await
}

pub(crate) async fn output_is_read_from_any_position(work: &Work<'_>) {
    let lease = start(work, "a").await;
    let page = work.store.read_output(lease, 0, 100).await.unwrap().unwrap();
    assert!(page.pieces.is_empty() && page.is_end);
    assert_eq!(work.print(lease, "hello ").await, 6);
    let chunk = OutputChunk { stream: OutputStream::Stderr, ..work.chunk("world") };
    assert_eq!(work.store.append_output(lease, vec![chunk.clone(), work.chunk("!")]).await.unwrap(), 12);
    assert_eq!(work.store.append_output(lease, vec![work.chunk("")]).await.unwrap(), 12);
    work.succeed(lease).await;
    for position in 0..=12 {
        for limit in [1, 100] {
            let (bytes, missing) = read_all(work, lease, position, limit).await;
            assert_eq!(bytes, &b"hello world!"[usize::try_from(position).unwrap()..]);
            assert_eq!(missing, 0);
        }
    }
    let page = work.store.read_output(lease, 6, 1).await.unwrap().unwrap();
    assert_eq!((page.pieces, page.next, page.is_end), (vec![OutputPiece::Chunk(chunk)], 11, false));
    let attempts = work.store.job(lease.job).await.unwrap().unwrap().attempts;
    assert_eq!(attempts[0].output, 12);
    // A position behind the end, as a forged one may be, reads nothing.
    let page = work.store.read_output(lease, u64::MAX, 100).await.unwrap().unwrap();
    assert!(page.pieces.is_empty() && page.is_end);
}

pub(crate) async fn large_output_is_read_back_whole(work: &Work<'_>) {
    let lease = start(work, "a").await;
    let mut expected = Vec::new();
    for round in 0..40_u8 {
        let bytes: Vec<u8> = (0..20_000_u32).map(|index| (index % 251) as u8 ^ round).collect();
        expected.extend_from_slice(&bytes);
        let chunk = OutputChunk { bytes: Bytes::from(bytes), ..work.chunk("") };
        assert_eq!(work.store.append_output(lease, vec![chunk]).await.unwrap(), expected.len() as u64);
    }
    work.succeed(lease).await;
    assert!(read_all(work, lease, 0, 70_000).await == (expected.clone(), 0));
    assert!(read_all(work, lease, 123_456, u64::MAX).await == (expected.split_off(123_456), 0));
}

pub(crate) async fn output_over_the_limit_of_the_job_drops_the_oldest(work: &Work<'_>) {
    let lease = start(work, "a").await;
    let piece = "x".repeat(100_000);
    for _ in 0..15 {
        work.print(lease, &piece).await;
    }
    work.print(lease, "the end").await;
    let (bytes, missing) = read_all(work, lease, 0, u64::MAX).await;
    assert!(bytes.len() as u64 <= limits().job_output && bytes.len() as u64 > limits().job_output - 200_000);
    assert!(bytes.ends_with(b"the end"));
    assert_eq!(bytes.len() as u64 + missing, 1_500_007);
}

pub(crate) async fn output_over_the_limit_of_the_handler_drops_that_of_ended_jobs(work: &Work<'_>) {
    let piece = "x".repeat(100_000);
    let mut leases = Vec::new();
    for _ in 0..3 {
        let lease = start(work, "a").await;
        for _ in 0..9 {
            work.print(lease, &piece).await;
        }
        work.succeed(lease).await;
        work.pass(1);
        leases.push(lease);
    }
    let mut kept = Vec::new();
    for lease in &leases {
        kept.push(read_all(work, *lease, 0, u64::MAX).await.0.len());
    }
    assert!(kept[0] < 300_000 && kept[1] == 900_000 && kept[2] == 900_000, "{kept:?}");
}

pub(crate) async fn ended_attempt_takes_no_output(work: &Work<'_>) {
    let lease = start(work, "a").await;
    work.print(lease, "before").await;
    work.succeed(lease).await;
    let error = work.store.append_output(lease, vec![work.chunk("after")]).await.unwrap_err();
    assert_eq!(error, AttemptError::Stale { job: lease.job, attempt: 1 });
    assert_eq!(read_all(work, lease, 0, 100).await.0, b"before");
}

pub(crate) async fn each_attempt_has_its_own_output(work: &Work<'_>) {
    let first = start(work, "a").await;
    work.print(first, "first").await;
    work.end(first, Outcome::Exited { code: 1 }, Then::Retry(work.now().wall)).await;
    let second = work.claim_one().await;
    work.print(second, "second").await;
    assert_eq!(read_all(work, first, 0, 100).await.0, b"first");
    assert_eq!(read_all(work, second, 0, 100).await.0, b"second");
    let third = Lease { attempt: 3, ..second };
    assert_eq!(work.store.read_output(third, 0, 100).await.unwrap(), None);
    assert_eq!(work.store.read_output(Lease { attempt: 0, ..second }, 0, 100).await.unwrap(), None);
}

pub(crate) async fn position_of_a_time_is_found(work: &Work<'_>) {
    let lease = start(work, "a").await;
    work.print(lease, "one").await;
    let start = work.now().wall;
    work.pass(10);
    work.print(lease, "two").await;
    let later = work.now().wall;
    assert_eq!(work.store.output_position(lease, start).await.unwrap(), Some(0));
    assert_eq!(work.store.output_position(lease, later).await.unwrap(), Some(3));
    work.pass(10);
    assert_eq!(work.store.output_position(lease, work.now().wall).await.unwrap(), Some(6));
}
