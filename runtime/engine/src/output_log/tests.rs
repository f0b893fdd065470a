use futures_util::FutureExt as _;

use super::*;
use OutputStream::{Stderr, Stdout};

fn log(budget: usize) -> (Arc<ByteBudget>, OutputLog) {
    let budget = Arc::new(ByteBudget::new(budget));
    (budget.clone(), OutputLog::new(budget))
}

/// Reads all stored output. Returns its text and the number of bytes missed.
fn read(follower: &mut Follower) -> (String, u64) {
    let (mut text, mut missed) = (String::new(), 0);
    loop {
        match follower.try_next() {
            Next::Piece(Piece::Output { bytes, .. }) => text += std::str::from_utf8(&bytes).unwrap(),
            Next::Piece(Piece::Gap { missed: more }) => missed += more,
            Next::Pending | Next::End => return (text, missed),
        }
    }
}

fn lines(log: &OutputLog, lines: u64, streams: &[OutputStream]) -> String {
    let mut follower = log.follow_last(Some(lines), None, streams);
    let mut text = String::new();
    while let Next::Piece(piece) = follower.try_next() {
        if let Piece::Output { stream, bytes, .. } = piece
            && streams.contains(&stream)
        {
            text += std::str::from_utf8(&bytes).unwrap();
        }
    }
    text
}

#[test]
fn streams_stay_interleaved_as_written() {
    let (_, log) = log(1 << 20);
    log.write(Stdout, b"one ");
    log.write(Stderr, b"two ");
    log.write(Stdout, b"three");
    let mut follower = log.follow();
    let mut streams = Vec::new();
    while let Next::Piece(Piece::Output { stream, bytes, .. }) = follower.try_next() {
        streams.push((stream, bytes));
    }
    assert_eq!(streams, [(Stdout, "one ".into()), (Stderr, "two ".into()), (Stdout, "three".into())]);
}

#[test]
fn bytes_appended_to_read_chunk_are_read() {
    let (_, log) = log(1 << 20);
    let mut follower = log.follow();
    let mut all = String::new();
    for number in 0..2000 {
        log.write(Stdout, format!("{number} ").as_bytes());
        all += &read(&mut follower).0;
    }
    let expected: String = (0..2000).map(|number| format!("{number} ")).collect();
    assert_eq!(all, expected);
    assert_eq!(read(&mut log.follow()), (expected, 0));
}

#[test]
fn oldest_output_is_dropped_and_followers_read_gap() {
    let (budget, log) = log(usize::MAX);
    let mut slow = log.follow();
    log.write(Stdout, b"first");
    assert_eq!(read(&mut slow), ("first".to_owned(), 0));
    let piece = "x".repeat(10_000);
    (0..500).for_each(|_| log.write(Stderr, piece.as_bytes()));
    assert!(budget.used() <= LOG_SIZE + 2 * MAX_CHUNK, "{} bytes are stored", budget.used());
    let (text, missed) = read(&mut slow);
    assert_eq!(text.len() as u64 + missed, 5_000_000);
    assert!(text.len() > LOG_SIZE / 2, "only {} bytes are stored", text.len());
    let (text, missed) = read(&mut log.follow());
    assert_eq!(text.len() as u64 + missed, 5_000_005);
}

#[test]
fn logs_over_budget_keep_their_minimum() {
    let budget = Arc::new(ByteBudget::new(200_000));
    let logs: Vec<_> = (0..10).map(|_| OutputLog::new(budget.clone())).collect();
    for _ in 0..100 {
        logs.iter().for_each(|log| log.write(Stdout, &[b'x'; 4000]));
    }
    assert!(budget.used() <= 10 * (MIN_LOG_SIZE + 2 * MAX_CHUNK), "{} bytes are stored", budget.used());
    for log in &logs {
        assert!(read(&mut log.follow()).0.len() > MIN_LOG_SIZE / 2, "one log paid for the others");
    }
    drop(logs);
    assert_eq!(budget.used(), 0);
}

#[test]
fn single_byte_writes_take_little_extra_memory() {
    let (budget, log) = log(usize::MAX);
    (0..100_000).for_each(|_| log.write(Stdout, b"x"));
    assert_eq!(read(&mut log.follow()), ("x".repeat(100_000), 0));
    assert!(budget.used() < LOG_SIZE, "{} bytes are stored", budget.used());
}

#[test]
fn discharged_log_is_not_counted_and_still_readable() {
    let (budget, log) = log(1 << 20);
    let mut follower = log.follow();
    log.write(Stdout, b"stored");
    log.discharge();
    assert_eq!(budget.used(), 0);
    assert_eq!(read(&mut follower).0, "stored");
    drop((log, follower));
    assert_eq!(budget.used(), 0);
}

#[test]
fn last_lines_are_those_of_the_requested_streams() {
    let (_, log) = log(1 << 20);
    log.write(Stdout, b"a\nb");
    log.write(Stderr, b"x\ny\n");
    log.write(Stdout, b"c\nd\n");
    assert_eq!(lines(&log, 0, &[Stdout, Stderr]), "");
    assert_eq!(lines(&log, 1, &[Stdout]), "d\n");
    assert_eq!(lines(&log, 2, &[Stdout]), "bc\nd\n");
    assert_eq!(lines(&log, 1, &[Stderr]), "y\n");
    assert_eq!(lines(&log, 9, &[Stderr]), "x\ny\n");
    assert_eq!(lines(&log, 3, &[Stdout, Stderr]), "y\nc\nd\n");
    log.write(Stdout, b"unfinished");
    assert_eq!(lines(&log, 1, &[Stdout]), "unfinished");
    assert_eq!(lines(&log, 2, &[Stdout]), "d\nunfinished");
}

#[test]
fn follow_since_time_starts_at_first_later_chunk() {
    let (_, log) = log(1 << 20);
    log.write(Stdout, b"old");
    let Next::Piece(Piece::Output { at: old, .. }) = log.follow().try_next() else { panic!("nothing is there") };
    // Another stream starts a chunk of its own, whatever the time.
    log.write(Stderr, b"new");
    let from = |since| read(&mut log.follow_last(None, Some(since), &[Stdout, Stderr])).0;
    assert_eq!(from(old), "oldnew");
    assert_eq!(from(Timestamp::UNIX_EPOCH), "oldnew");
    assert_eq!(from(Timestamp::MAX), "");
}

#[test]
fn log_ends_when_both_writers_are_dropped() {
    let (_, log) = log(1 << 20);
    let (stdout, stderr) = (log.writer(Stdout), log.writer(Stderr));
    let mut follower = log.follow();
    assert_eq!(follower.try_next(), Next::Pending);
    drop(stdout);
    assert_eq!(follower.next().now_or_never(), None);
    log.write(Stderr, b"last");
    drop(stderr);
    assert_eq!(read(&mut follower).0, "last");
    assert_eq!(follower.next().now_or_never(), Some(None));
}

#[tokio::test]
async fn next_waits_for_next_piece_or_end() {
    let (_, log) = log(1 << 20);
    let writer = log.writer(Stdout);
    let mut follower = log.follow();
    let (piece, ()) = tokio::join!(follower.next(), async { log.write(Stdout, b"a") });
    assert!(matches!(piece, Some(Piece::Output { bytes, .. }) if bytes == "a"));
    let (end, ()) = tokio::join!(follower.next(), async { drop(writer) });
    assert_eq!(end, None);
}
