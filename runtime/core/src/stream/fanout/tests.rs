use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::FutureExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::stream::pipe::{Source, pipe};

/// Fails as configured, and counts how often it was dropped.
#[derive(Debug, Default)]
struct FailingWriter {
    write: Option<io::ErrorKind>,
    close: Option<io::ErrorKind>,
    /// Bytes that it accepts before it fails.
    capacity: usize,
    _drops: DropCounter,
}

/// Counts its drops.
#[derive(Debug, Default)]
struct DropCounter(Arc<AtomicUsize>);

impl AsyncWrite for FailingWriter {
    fn poll_write(self: Pin<&mut Self>, _cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let writer = self.get_mut();
        match writer.write {
            Some(kind) if writer.capacity == 0 => Poll::Ready(Err(kind.into())),
            _ => {
                let size = bytes.len().min(writer.capacity);
                writer.capacity -= size;
                Poll::Ready(Ok(size))
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.close.map_or(Ok(()), |kind| Err(kind.into())))
    }
}

impl Drop for DropCounter {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn piece(text: &'static str) -> Result<Option<Piece>, Evicted> {
    Ok(Some(Piece::Bytes(text.into())))
}

fn gap(missed: u64) -> Result<Option<Piece>, Evicted> {
    Ok(Some(Piece::Gap { missed }))
}

async fn read_all(mut source: Source) -> String {
    let mut text = String::new();
    source.read_to_string(&mut text).await.unwrap();
    text
}

#[tokio::test]
async fn every_sink_gets_all_bytes_and_is_closed_once() {
    let (fan_out, mut sink) = FanOut::new();
    let ((a, a_source), (b, b_source)) = (pipe(64), pipe(64));
    let drops = Arc::new(AtomicUsize::new(0));
    fan_out.add(a);
    fan_out.add(b);
    fan_out.add(Sink::new(FailingWriter {
        capacity: 100,
        _drops: DropCounter(drops.clone()),
        ..FailingWriter::default()
    }));
    sink.write_all(b"to all").await.unwrap();
    assert_eq!((fan_out.reader_count(), drops.load(Ordering::Relaxed)), (3, 0));
    drop(sink);
    assert_eq!((read_all(a_source).await.as_str(), read_all(b_source).await.as_str()), ("to all", "to all"));
    drop(fan_out);
    assert_eq!(drops.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn stream_without_readers_discards_and_accepts_readers_later() {
    let (fan_out, mut sink) = FanOut::new();
    sink.write_all(&[0; 1 << 20]).await.unwrap();
    let (late, late_source) = pipe(64);
    fan_out.add(late);
    sink.write_all(b"late").await.unwrap();
    sink.shutdown().await.unwrap();
    assert_eq!(read_all(late_source).await, "late");
    assert_eq!(sink.write(b"x").await.unwrap_err().kind(), io::ErrorKind::BrokenPipe, "the stream has ended");
    let (after, after_source) = pipe(64);
    fan_out.add(after);
    assert_eq!(read_all(after_source).await, "", "a sink added after the end is closed immediately");
}

#[tokio::test]
async fn slow_sink_blocks_the_writer_and_no_other_reader() {
    let (fan_out, mut sink) = FanOut::new();
    let ((slow, mut slow_source), (fast, mut fast_source)) = (pipe(4), pipe(1 << 20));
    fan_out.add(slow);
    fan_out.add(fast);
    let mut tap = fan_out.tap(LagPolicy::Drop, 1 << 20);
    let mut write = pin!(sink.write_all(b"slow and fast"));
    assert!(write.as_mut().now_or_never().is_none(), "the slow sink holds the writer");
    let mut got = [0; 13];
    fast_source.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"slow and fast", "the fast sink has the bytes");
    assert_eq!(tap.next().await, piece("slow and fast"));
    let mut slowly = [0; 13];
    let (written, read) = tokio::join!(write, slow_source.read_exact(&mut slowly));
    written.unwrap();
    read.unwrap();
    assert_eq!(&slowly, b"slow and fast");
}

#[tokio::test]
async fn write_that_is_dropped_is_still_made_once() {
    let (fan_out, mut sink) = FanOut::new();
    let (slow, mut slow_source) = pipe(2);
    fan_out.add(slow);
    assert!(sink.write_all(b"abc").now_or_never().is_none());
    let writing = async {
        sink.write_all(b"xyz").await.unwrap();
        drop(sink);
    };
    let mut got = String::new();
    let ((), read) = tokio::join!(writing, slow_source.read_to_string(&mut got));
    read.unwrap();
    assert_eq!(got, "abcxyz");
}

#[tokio::test]
async fn full_queue_with_drop_policy_reports_the_gap() {
    let (fan_out, mut sink) = FanOut::new();
    let mut tap = fan_out.tap(LagPolicy::Drop, 8);
    sink.write_all(b"12345678").await.unwrap();
    sink.write_all(b"abc").await.unwrap();
    assert_eq!([tap.next().await, tap.next().await], [gap(3), piece("45678abc")]);
    sink.write_all(b"0123456789abcdef").await.unwrap();
    assert_eq!([tap.next().await, tap.next().await], [gap(8), piece("89abcdef")]);
    sink.write_all(b"end").await.unwrap();
    drop(sink);
    assert_eq!([tap.next().await, tap.next().await], [piece("end"), Ok(None)]);
}

#[tokio::test]
async fn full_queue_with_evict_policy_removes_the_tap() {
    let (fan_out, mut sink) = FanOut::new();
    let mut evicted = fan_out.tap(LagPolicy::Evict, 8);
    let mut other = fan_out.tap(LagPolicy::Evict, 64);
    sink.write_all(b"12345678").await.unwrap();
    assert_eq!(fan_out.reader_count(), 2);
    sink.write_all(b"9").await.unwrap();
    assert_eq!(fan_out.reader_count(), 1);
    sink.write_all(b"0").await.unwrap();
    drop(sink);
    assert_eq!([evicted.next().await, evicted.next().await], [piece("12345678"), Err(Evicted)]);
    assert_eq!([other.next().await, other.next().await], [piece("1234567890"), Ok(None)]);
}

#[tokio::test]
async fn waiting_tap_is_woken_and_dropped_tap_is_removed() {
    let (fan_out, mut sink) = FanOut::new();
    let mut tap = fan_out.tap(LagPolicy::Drop, 8);
    let (next, written) = tokio::join!(tap.next(), sink.write_all(b"now"));
    written.unwrap();
    assert_eq!(next, piece("now"));
    let (end, ()) = tokio::join!(tap.next(), async { drop(sink) });
    assert_eq!(end, Ok(None));
    drop(tap);
    assert_eq!(fan_out.reader_count(), 0);
}

#[tokio::test]
async fn sink_that_fails_is_removed_and_reported() {
    let (fan_out, mut sink) = FanOut::new();
    let (left, source) = pipe(64);
    let (good, good_source) = pipe(64);
    let full = FailingWriter { write: Some(io::ErrorKind::StorageFull), capacity: 3, ..FailingWriter::default() };
    fan_out.add(Sink::new(full));
    fan_out.add(left);
    drop(source);
    fan_out.add(Sink::new(FailingWriter::default()));
    fan_out.add(Sink::new(FailingWriter {
        capacity: 100,
        close: Some(io::ErrorKind::TimedOut),
        ..FailingWriter::default()
    }));
    fan_out.add(good);
    sink.write_all(b"hello").await.unwrap();
    sink.shutdown().await.unwrap();
    let errors: Vec<_> = fan_out.errors().iter().map(|error| (error.number, error.taken, error.kind)).collect();
    assert_eq!(
        errors,
        [
            (1, 3, io::ErrorKind::StorageFull),
            (2, 0, io::ErrorKind::BrokenPipe),
            (3, 0, io::ErrorKind::WriteZero),
            (4, 5, io::ErrorKind::TimedOut),
        ]
    );
    assert_eq!(read_all(good_source).await, "hello");
}

#[tokio::test]
async fn errors_of_any_number_of_sinks_are_bounded() {
    let (fan_out, mut sink) = FanOut::new();
    for _ in 0..1000 {
        fan_out.add(pipe(1).0);
        sink.write_all(b"x").await.unwrap();
    }
    assert_eq!((fan_out.reader_count(), fan_out.errors().len()), (0, 100));
}

#[tokio::test]
async fn forward_to_copies_stream_and_gaps() {
    let (fan_out, mut sink) = FanOut::new();
    let tap = fan_out.tap(LagPolicy::Drop, 4);
    sink.write_all(b"123456").await.unwrap();
    drop(sink);
    let (copy, copy_source) = pipe(1024);
    assert_eq!(tap.forward_to(copy).await.unwrap(), 4);
    assert_eq!(read_all(copy_source).await, "[capstan: 2 bytes of output are missing here]\n3456");
}

#[tokio::test]
async fn forward_to_reports_the_kind_of_failure() {
    let forward = async |failing: FailingWriter, policy| {
        let (fan_out, mut sink) = FanOut::new();
        let tap = fan_out.tap(policy, 4);
        sink.write_all(b"123").await.unwrap();
        sink.write_all(b"456").await.unwrap();
        drop(sink);
        let forwarded = tap.forward_to(Sink::new(failing)).await;
        assert_eq!(fan_out.reader_count(), 0);
        forwarded.unwrap_err()
    };
    let failing = |write, close| FailingWriter { write, close, capacity: 100, ..FailingWriter::default() };
    let kind = io::ErrorKind::StorageFull;
    assert!(matches!(forward(failing(None, None), LagPolicy::Evict).await, ForwardError::Evicted(_)));
    assert!(matches!(forward(failing(None, Some(kind)), LagPolicy::Drop).await, ForwardError::Close(_)));
    let full = FailingWriter { write: Some(kind), ..FailingWriter::default() };
    assert!(matches!(forward(full, LagPolicy::Drop).await, ForwardError::Write(_)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_can_change_while_the_stream_is_written() {
    let (fan_out, mut sink) = FanOut::new();
    let (steady, mut steady_source) = pipe(1000);
    fan_out.add(steady);
    let writing = tokio::spawn(async move {
        for number in 0..20_000_u32 {
            sink.write_all(&number.to_be_bytes()).await.unwrap();
        }
    });
    let changing = tokio::spawn(async move {
        for _ in 0..500 {
            let (short, mut short_source) = pipe(10);
            fan_out.add(short);
            let mut tap = fan_out.tap(LagPolicy::Evict, 100);
            let _ = short_source.read(&mut [0; 7]).await.unwrap();
            let _ = tap.next().await;
        }
    });
    let mut all = Vec::new();
    steady_source.read_to_end(&mut all).await.unwrap();
    assert_eq!(all, (0..20_000_u32).flat_map(u32::to_be_bytes).collect::<Vec<_>>());
    writing.await.unwrap();
    changing.await.unwrap();
}
