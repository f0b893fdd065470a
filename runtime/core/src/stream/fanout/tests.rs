use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::FutureExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::super::{CarryError, Evicted, Piece, Source, pipe};
use super::*;

/// Fails as it is told to, and counts how often it was closed.
#[derive(Debug, Default)]
struct Failing {
    write: Option<io::ErrorKind>,
    close: Option<io::ErrorKind>,
    takes: usize,
    _closed: Closed,
}

/// Counts when it is dropped.
#[derive(Debug, Default)]
struct Closed(Arc<AtomicUsize>);

impl AsyncWrite for Failing {
    fn poll_write(self: Pin<&mut Self>, _cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let failing = self.get_mut();
        match failing.write {
            Some(kind) if failing.takes == 0 => Poll::Ready(Err(kind.into())),
            _ => {
                let size = bytes.len().min(failing.takes);
                failing.takes -= size;
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

impl Drop for Closed {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn bytes(text: &'static str) -> Result<Option<Piece>, Evicted> {
    Ok(Some(Piece::Bytes(text.into())))
}

fn gap(missed: u64) -> Result<Option<Piece>, Evicted> {
    Ok(Some(Piece::Gap { missed }))
}

async fn text(mut source: Source) -> String {
    let mut text = String::new();
    source.read_to_string(&mut text).await.unwrap();
    text
}

#[tokio::test]
async fn every_sink_gets_all_and_is_closed_once() {
    let (fan_out, mut sink) = FanOut::new();
    let ((a, of_a), (b, of_b)) = (pipe(64), pipe(64));
    let closed = Arc::new(AtomicUsize::new(0));
    fan_out.add(a);
    fan_out.add(b);
    fan_out.add(Sink::new(Failing { takes: 100, _closed: Closed(closed.clone()), ..Failing::default() }));
    sink.write_all(b"to all").await.unwrap();
    assert_eq!((fan_out.readers(), closed.load(Ordering::Relaxed)), (3, 0));
    drop(sink);
    assert_eq!((text(of_a).await.as_str(), text(of_b).await.as_str()), ("to all", "to all"));
    drop(fan_out);
    assert_eq!(closed.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_stream_to_nobody_goes_nowhere_and_takes_readers_later() {
    let (fan_out, mut sink) = FanOut::new();
    sink.write_all(&[0; 1 << 20]).await.unwrap();
    let (late, of_late) = pipe(64);
    fan_out.add(late);
    sink.write_all(b"late").await.unwrap();
    sink.shutdown().await.unwrap();
    assert_eq!(text(of_late).await, "late");
    assert_eq!(sink.write(b"x").await.unwrap_err().kind(), io::ErrorKind::BrokenPipe, "it has ended");
    let (after, of_after) = pipe(64);
    fan_out.add(after);
    assert_eq!(text(of_after).await, "", "what is added to a stream that has ended is closed at once");
}

#[tokio::test]
async fn a_sink_that_blocks_holds_the_writer_and_no_other_reader() {
    let (fan_out, mut sink) = FanOut::new();
    let ((slow, mut of_slow), (fast, mut of_fast)) = (pipe(4), pipe(1 << 20));
    fan_out.add(slow);
    fan_out.add(fast);
    let mut tap = fan_out.tap(Policy::Drop, 1 << 20);
    let mut write = pin!(sink.write_all(b"slow and fast"));
    assert!(write.as_mut().now_or_never().is_none(), "the slow sink holds the writer");
    let mut got = [0; 13];
    of_fast.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"slow and fast", "the fast sink has it all the same");
    assert_eq!(tap.next().await, bytes("slow and fast"));
    let mut slowly = [0; 13];
    let (written, read) = tokio::join!(write, of_slow.read_exact(&mut slowly));
    written.unwrap();
    read.unwrap();
    assert_eq!(&slowly, b"slow and fast");
}

#[tokio::test]
async fn a_write_that_is_given_up_is_made_once() {
    let (fan_out, mut sink) = FanOut::new();
    let (slow, mut of_slow) = pipe(2);
    fan_out.add(slow);
    assert!(sink.write_all(b"abc").now_or_never().is_none());
    let writing = async {
        sink.write_all(b"xyz").await.unwrap();
        drop(sink);
    };
    let mut got = String::new();
    let ((), read) = tokio::join!(writing, of_slow.read_to_string(&mut got));
    read.unwrap();
    assert_eq!(got, "abcxyz");
}

#[tokio::test]
async fn a_queue_that_is_full_drops_the_oldest_and_says_how_much() {
    let (fan_out, mut sink) = FanOut::new();
    let mut tap = fan_out.tap(Policy::Drop, 8);
    sink.write_all(b"12345678").await.unwrap();
    sink.write_all(b"abc").await.unwrap();
    assert_eq!([tap.next().await, tap.next().await], [gap(3), bytes("45678abc")]);
    sink.write_all(b"0123456789abcdef").await.unwrap();
    assert_eq!([tap.next().await, tap.next().await], [gap(8), bytes("89abcdef")]);
    sink.write_all(b"end").await.unwrap();
    drop(sink);
    assert_eq!([tap.next().await, tap.next().await], [bytes("end"), Ok(None)]);
}

#[tokio::test]
async fn who_falls_behind_is_taken_out_where_that_is_the_policy() {
    let (fan_out, mut sink) = FanOut::new();
    let mut evicted = fan_out.tap(Policy::Evict, 8);
    let mut other = fan_out.tap(Policy::Evict, 64);
    sink.write_all(b"12345678").await.unwrap();
    assert_eq!(fan_out.readers(), 2);
    sink.write_all(b"9").await.unwrap();
    assert_eq!(fan_out.readers(), 1);
    sink.write_all(b"0").await.unwrap();
    drop(sink);
    assert_eq!([evicted.next().await, evicted.next().await], [bytes("12345678"), Err(Evicted)]);
    assert_eq!([other.next().await, other.next().await], [bytes("1234567890"), Ok(None)]);
}

#[tokio::test]
async fn a_tap_that_waits_is_woken_and_one_that_is_dropped_is_gone() {
    let (fan_out, mut sink) = FanOut::new();
    let mut tap = fan_out.tap(Policy::Drop, 8);
    let (piece, written) = tokio::join!(tap.next(), sink.write_all(b"now"));
    written.unwrap();
    assert_eq!(piece, bytes("now"));
    let (end, ()) = tokio::join!(tap.next(), async { drop(sink) });
    assert_eq!(end, Ok(None));
    drop(tap);
    assert_eq!(fan_out.readers(), 0);
}

#[tokio::test]
async fn a_sink_that_fails_is_taken_out_and_told_beside() {
    let (fan_out, mut sink) = FanOut::new();
    let (left, source) = pipe(64);
    let (good, of_good) = pipe(64);
    let full = Failing { write: Some(io::ErrorKind::StorageFull), takes: 3, ..Failing::default() };
    fan_out.add(Sink::new(full));
    fan_out.add(left);
    drop(source);
    fan_out.add(Sink::new(Failing::default()));
    fan_out.add(Sink::new(Failing { takes: 100, close: Some(io::ErrorKind::TimedOut), ..Failing::default() }));
    fan_out.add(good);
    sink.write_all(b"hello").await.unwrap();
    sink.shutdown().await.unwrap();
    let told: Vec<_> = fan_out.errors().iter().map(|error| (error.number, error.taken, error.kind)).collect();
    assert_eq!(
        told,
        [
            (1, 3, io::ErrorKind::StorageFull),
            (2, 0, io::ErrorKind::BrokenPipe),
            (3, 0, io::ErrorKind::WriteZero),
            (4, 5, io::ErrorKind::TimedOut),
        ]
    );
    assert_eq!(text(of_good).await, "hello");
}

#[tokio::test]
async fn readers_that_leave_for_ever_fill_no_memory_with_errors() {
    let (fan_out, mut sink) = FanOut::new();
    for _ in 0..1000 {
        fan_out.add(pipe(1).0);
        sink.write_all(b"x").await.unwrap();
    }
    assert_eq!((fan_out.readers(), fan_out.errors().len()), (0, 100));
}

#[tokio::test]
async fn a_tap_is_carried_to_a_sink_with_its_gaps() {
    let (fan_out, mut sink) = FanOut::new();
    let tap = fan_out.tap(Policy::Drop, 4);
    sink.write_all(b"123456").await.unwrap();
    drop(sink);
    let (carried_to, of_carried) = pipe(1024);
    assert_eq!(tap.carry(carried_to).await.unwrap(), 4);
    assert_eq!(text(of_carried).await, "[capstan: 2 bytes of output are missing here]\n3456");
}

#[tokio::test]
async fn what_ends_a_carrying_is_told_by_its_kind() {
    let carried = async |failing: Failing, policy| {
        let (fan_out, mut sink) = FanOut::new();
        let tap = fan_out.tap(policy, 4);
        sink.write_all(b"123").await.unwrap();
        sink.write_all(b"456").await.unwrap();
        drop(sink);
        let carried = tap.carry(Sink::new(failing)).await;
        assert_eq!(fan_out.readers(), 0);
        carried.unwrap_err()
    };
    let failing = |write, close| Failing { write, close, takes: 100, ..Failing::default() };
    let kind = io::ErrorKind::StorageFull;
    assert!(matches!(carried(failing(None, None), Policy::Evict).await, CarryError::Evicted(_)));
    assert!(matches!(carried(failing(None, Some(kind)), Policy::Drop).await, CarryError::Close(_)));
    let full = Failing { write: Some(kind), ..Failing::default() };
    assert!(matches!(carried(full, Policy::Drop).await, CarryError::Write(_)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_come_and_go_while_much_is_written() {
    let (fan_out, mut sink) = FanOut::new();
    let (whole, mut of_whole) = pipe(1000);
    fan_out.add(whole);
    let writing = tokio::spawn(async move {
        for number in 0..20_000_u32 {
            sink.write_all(&number.to_be_bytes()).await.unwrap();
        }
    });
    let coming = tokio::spawn(async move {
        for _ in 0..500 {
            let (short, mut of_short) = pipe(10);
            fan_out.add(short);
            let mut tap = fan_out.tap(Policy::Evict, 100);
            let _ = of_short.read(&mut [0; 7]).await.unwrap();
            let _ = tap.next().await;
        }
    });
    let mut all = Vec::new();
    of_whole.read_to_end(&mut all).await.unwrap();
    assert_eq!(all, (0..20_000_u32).flat_map(u32::to_be_bytes).collect::<Vec<_>>());
    writing.await.unwrap();
    coming.await.unwrap();
}
