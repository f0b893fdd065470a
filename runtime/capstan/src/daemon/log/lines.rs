//! `Lines`: log lines on their way to stderr.
//!
//! Whoever logs leaves its line in memory and goes on; a thread takes what has gathered every few milliseconds and writes it at a stroke.
//! A thread that is woken for each line, as the usual writers have it, costs a short run a fifth of its time.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

/// Bytes of lines that wait to be written; lines beyond are dropped.
const CAPACITY: usize = 4 << 20;
/// Bytes that are kept for lines to come.
const USUAL: usize = 64 << 10;
/// How long lines gather while they come one after the other. The first after a rest is written at once.
const GATHER: Duration = Duration::from_millis(5);
/// How long the end waits for a reader that takes nothing.
const LAST_WRITE: Duration = Duration::from_secs(1);

/// Where lines are left; clones are the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Lines(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    changed: Condvar,
    dropped: AtomicU64,
}

#[derive(Debug, Default)]
struct Waiting {
    text: Vec<u8>,
    /// No more lines come.
    ended: bool,
    /// All is written.
    written: bool,
}

/// Writes what is left when it is dropped, for one second at most.
#[derive(Debug)]
pub(crate) struct Writing(Lines);

impl Lines {
    /// Begins to write to `to`.
    pub(super) fn start(to: impl Write + Send + 'static) -> io::Result<(Self, Writing)> {
        let lines = Self::default();
        let mine = lines.clone();
        let _: JoinHandle<()> = thread::Builder::new().name("log".to_owned()).spawn(move || mine.write(to))?;
        Ok((lines.clone(), Writing(lines)))
    }

    /// Lines that were dropped.
    pub(super) fn dropped(&self) -> u64 {
        self.0.dropped.load(Ordering::Relaxed)
    }

    fn leave(&self, line: &[u8]) {
        let mut waiting = self.lock();
        if waiting.text.len() + line.len() > CAPACITY {
            drop(waiting);
            self.0.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let is_first = waiting.text.is_empty();
        waiting.text.extend_from_slice(line);
        drop(waiting);
        if is_first {
            self.0.changed.notify_all();
        }
    }

    fn write(&self, mut to: impl Write) {
        let mut text = Vec::new();
        loop {
            let came = self.0.changed.wait_while(self.lock(), |waiting| waiting.text.is_empty() && !waiting.ended);
            let mut waiting = came.expect("no panic while the lock is held");
            std::mem::swap(&mut waiting.text, &mut text);
            let ended = waiting.ended;
            drop(waiting);
            // There is nowhere left to tell of a failure.
            let _ = to.write_all(&text).and_then(|()| to.flush());
            text.clear();
            text.shrink_to(USUAL);
            if ended {
                self.lock().written = true;
                self.0.changed.notify_all();
                return;
            }
            let gathered = self.0.changed.wait_timeout_while(self.lock(), GATHER, |waiting| !waiting.ended);
            drop(gathered.expect("no panic while the lock is held"));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.waiting.lock().expect("no panic while the lock is held")
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        let Lines(shared) = &self.0;
        let mut waiting = self.0.lock();
        waiting.ended = true;
        shared.changed.notify_all();
        drop(shared.changed.wait_timeout_while(waiting, LAST_WRITE, |waiting| !waiting.written));
    }
}

/// One line: the formatter hands it over whole.
pub(super) struct Line<'a>(&'a Lines);

impl Write for Line<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.leave(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Self::Writer {
        Line(self)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// Hands on what is written, and waits to be let go on.
    struct Slow(mpsc::Sender<Vec<u8>>, mpsc::Receiver<()>);

    impl Write for Slow {
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
    fn lines_are_written_whole_and_in_order_and_the_last_before_the_end() {
        let (sender, written) = mpsc::channel();
        let (go_on, held) = mpsc::channel();
        let (lines, writing) = Lines::start(Slow(sender, held)).unwrap();
        lines.make_writer().write_all(b"one\n").unwrap();
        assert_eq!(written.recv().unwrap(), b"one\n");
        lines.make_writer().write_all(b"two\n").unwrap();
        lines.make_writer().write_all(b"three\n").unwrap();
        go_on.send(()).unwrap();
        go_on.send(()).unwrap();
        drop(writing);
        assert_eq!(written.recv().unwrap(), b"two\nthree\n");
        assert_eq!(lines.dropped(), 0);
    }

    #[test]
    fn a_writer_that_hangs_holds_nobody_up_and_costs_lines() {
        let (sender, written) = mpsc::channel();
        let (_go_on, held) = mpsc::channel();
        let (lines, _writing) = Lines::start(Slow(sender, held)).unwrap();
        lines.leave(b"first");
        written.recv().unwrap();
        let line = vec![b'x'; CAPACITY / 4];
        for _ in 0..6 {
            lines.leave(&line);
        }
        assert_eq!(lines.dropped(), 2);
    }
}
