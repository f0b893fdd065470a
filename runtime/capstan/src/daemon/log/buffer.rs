//! `LogBuffer`: log lines that wait to be written.
//!
//! Logging appends a line to a buffer in memory. A thread writes the buffer every few milliseconds, in one call. The usual writers wake a
//! thread for each line, which costs a short run a fifth of its time.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

/// The limit on buffered bytes. Lines that do not fit are dropped.
const CAPACITY: usize = 4 << 20;
/// The bytes of memory that the buffer keeps after a write.
const RETAINED: usize = 64 << 10;
/// The time between two writes. The first line after a pause is written at once.
const WRITE_INTERVAL: Duration = Duration::from_millis(5);
/// The limit on the time of the last write, for a reader that blocks.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// A buffer of log lines. Clones share it.
#[derive(Clone, Debug, Default)]
pub(in crate::daemon) struct LogBuffer(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    dropped: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    text: Vec<u8>,
    /// No more lines follow.
    is_closed: bool,
    /// All lines are written.
    is_flushed: bool,
}

/// Writes the remaining lines when it is dropped, for at most one second.
#[derive(Debug)]
pub(crate) struct FlushGuard(LogBuffer);

impl LogBuffer {
    /// Starts a thread that writes the lines to `output`.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub(in crate::daemon) fn start(output: impl Write + Send + 'static) -> io::Result<(Self, FlushGuard)> {
        let buffer = Self::default();
        let shared = buffer.clone();
        let _: JoinHandle<()> =
            thread::Builder::new().name("log".to_owned()).spawn(move || shared.write_until_closed(output))?;
        Ok((buffer.clone(), FlushGuard(buffer)))
    }

    /// Returns the number of dropped lines.
    pub(super) fn dropped_lines(&self) -> u64 {
        self.0.dropped.load(Ordering::Relaxed)
    }

    /// Appends a line, or drops it if it does not fit.
    pub(in crate::daemon) fn push(&self, line: &[u8]) {
        let mut state = self.lock();
        if state.text.len() + line.len() > CAPACITY {
            drop(state);
            self.0.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let is_first = state.text.is_empty();
        state.text.extend_from_slice(line);
        drop(state);
        if is_first {
            self.0.changed.notify_all();
        }
    }

    fn write_until_closed(&self, mut output: impl Write) {
        let mut text = Vec::new();
        loop {
            let state = self.0.changed.wait_while(self.lock(), |state| state.text.is_empty() && !state.is_closed);
            let mut state = state.expect("no panic while the lock is held");
            std::mem::swap(&mut state.text, &mut text);
            let is_closed = state.is_closed;
            drop(state);
            // There is no other place to report an error.
            let _ = output.write_all(&text).and_then(|()| output.flush());
            text.clear();
            text.shrink_to(RETAINED);
            if is_closed {
                self.lock().is_flushed = true;
                self.0.changed.notify_all();
                return;
            }
            let interval = self.0.changed.wait_timeout_while(self.lock(), WRITE_INTERVAL, |state| !state.is_closed);
            drop(interval.expect("no panic while the lock is held"));
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().expect("no panic while the lock is held")
    }
}

impl Drop for FlushGuard {
    fn drop(&mut self) {
        let LogBuffer(shared) = &self.0;
        let mut state = self.0.lock();
        state.is_closed = true;
        shared.changed.notify_all();
        drop(shared.changed.wait_timeout_while(state, FLUSH_TIMEOUT, |state| !state.is_flushed));
    }
}

/// Appends to the buffer. The formatter writes each line in one call.
pub(in crate::daemon) struct LineWriter<'a>(&'a LogBuffer);

impl Write for LineWriter<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LogBuffer {
    type Writer = LineWriter<'a>;

    fn make_writer(&'a self) -> Self::Writer {
        LineWriter(self)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// Sends the written bytes to a channel, and then blocks until the other channel has a value.
    struct BlockingOutput(mpsc::Sender<Vec<u8>>, mpsc::Receiver<()>);

    impl Write for BlockingOutput {
        fn write(&mut self, text: &[u8]) -> io::Result<usize> {
            self.0.send(text.to_vec()).unwrap();
            self.1.recv().unwrap();
            Ok(text.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_are_written_in_order_and_the_rest_by_the_guard() {
        let (sender, written) = mpsc::channel();
        let (unblock, blocked) = mpsc::channel();
        let (buffer, guard) = LogBuffer::start(BlockingOutput(sender, blocked)).unwrap();
        buffer.make_writer().write_all(b"one\n").unwrap();
        assert_eq!(written.recv().unwrap(), b"one\n");
        buffer.make_writer().write_all(b"two\n").unwrap();
        buffer.make_writer().write_all(b"three\n").unwrap();
        unblock.send(()).unwrap();
        unblock.send(()).unwrap();
        drop(guard);
        assert_eq!(written.recv().unwrap(), b"two\nthree\n");
        assert_eq!(buffer.dropped_lines(), 0);
    }

    #[test]
    fn lines_beyond_the_capacity_are_dropped_while_the_output_blocks() {
        let (sender, written) = mpsc::channel();
        let (_unblock, blocked) = mpsc::channel();
        let (buffer, _guard) = LogBuffer::start(BlockingOutput(sender, blocked)).unwrap();
        buffer.push(b"first");
        written.recv().unwrap();
        let line = vec![b'x'; CAPACITY / 4];
        for _ in 0..6 {
            buffer.push(&line);
        }
        assert_eq!(buffer.dropped_lines(), 2);
    }
}
