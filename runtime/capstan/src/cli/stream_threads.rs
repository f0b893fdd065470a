//! Threads that copy between the streams of this process and pipes.
//!
//! Reads and writes of a terminal, a file or a pipe block, so they need a thread. One thread for each stream moves large pieces, and is faster
//! than a pool of threads that moves each piece on another one.

use std::fs::File;
use std::io::{self, IoSlice, Read, Write};
use std::os::fd::AsFd;
use std::thread;

use bytes::{Bytes, BytesMut};
use capstan_core::outcome::OutputStream;
use capstan_core::stream::{Sink, Source};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

use super::error::CliError;
use super::output::output_error;

/// Bytes of a pipe to or from a thread. More than one piece fits, so that both ends work at the same time.
pub(super) const CAPACITY: usize = 1 << 20;
/// Bytes that are read at a time.
const PIECE_SIZE: usize = 256 << 10;
/// Pieces of output that wait to be written.
const MAX_WAITING: usize = 8;

/// Copies a stream on a thread. Dropping it does not stop the thread, which may be blocked in a read that never returns.
#[derive(Debug)]
pub(super) struct CopyThread(oneshot::Receiver<io::Result<()>>);

/// Writes stdout and stderr of this process on a thread, in the order of the calls.
#[derive(Debug)]
pub(super) struct OutputThread {
    pieces: mpsc::Sender<(OutputStream, Bytes)>,
    finished: oneshot::Receiver<Result<(), CliError>>,
}

impl CopyThread {
    /// Copies `reader` to `sink` until its end, or until nobody reads the sink any more.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub(super) fn read(reader: File, sink: Sink) -> io::Result<Self> {
        let runtime = Handle::current();
        spawn("stdin", move || read_to(reader, sink, &runtime)).map(Self)
    }

    /// Copies `source` to a stream of this process until its end.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub(super) fn write(source: Source, output: impl AsFd) -> io::Result<Self> {
        let (runtime, output) = (Handle::current(), File::from(output.as_fd().try_clone_to_owned()?));
        spawn("output", move || write_from(source, output, &runtime)).map(Self)
    }

    /// Waits until the stream is copied. Cancel-safe.
    ///
    /// # Errors
    /// The error of the stream of this process.
    ///
    /// # Panics
    /// If it is called again after it has returned.
    pub(super) async fn finished(&mut self) -> io::Result<()> {
        (&mut self.0).await.unwrap_or_else(|_| Err(io::Error::other("the thread of a stream panicked")))
    }
}

impl OutputThread {
    /// Starts the thread.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub(super) fn start() -> io::Result<Self> {
        let (pieces, received) = mpsc::channel(MAX_WAITING);
        let outputs = [io::stdout().as_fd(), io::stderr().as_fd()].map(|output| output.try_clone_to_owned());
        let [stdout, stderr] = outputs;
        let (stdout, stderr) = (File::from(stdout?), File::from(stderr?));
        let finished = spawn("output", move || write_pieces(received, stdout, stderr))?;
        Ok(Self { pieces, finished })
    }

    /// Writes `bytes`, as soon as what came before is written.
    ///
    /// # Errors
    /// [`CliError::Output`], which may be the error of an earlier write.
    pub(super) async fn write(&mut self, stream: OutputStream, bytes: Bytes) -> Result<(), CliError> {
        match self.pieces.send((stream, bytes)).await {
            Ok(()) => Ok(()),
            // The thread has ended because of an error.
            Err(_) => finished(&mut self.finished).await,
        }
    }

    /// Waits until an output cannot be written, and returns the error. Cancel-safe.
    pub(super) async fn failed(&mut self) -> CliError {
        match finished(&mut self.finished).await {
            Err(error) => error,
            Ok(()) => unreachable!("the thread ends without an error only when nothing more can be sent to it"),
        }
    }

    /// Waits until everything is written.
    ///
    /// # Errors
    /// [`CliError::Output`]
    pub(super) async fn finish(self) -> Result<(), CliError> {
        let Self { pieces, mut finished } = self;
        drop(pieces);
        self::finished(&mut finished).await
    }
}

async fn finished(thread: &mut oneshot::Receiver<Result<(), CliError>>) -> Result<(), CliError> {
    thread.await.unwrap_or_else(|_| Err(CliError::Startup(io::Error::other("the thread of the output panicked"))))
}

fn spawn<T: Send + 'static>(name: &str, work: impl FnOnce() -> T + Send + 'static) -> io::Result<oneshot::Receiver<T>> {
    let (sender, finished) = oneshot::channel();
    // If nobody waits for the thread, its result does not matter.
    thread::Builder::new().name(name.to_owned()).spawn(move || _ = sender.send(work()))?;
    Ok(finished)
}

fn write_pieces(
    mut received: mpsc::Receiver<(OutputStream, Bytes)>,
    mut stdout: File,
    mut stderr: File,
) -> Result<(), CliError> {
    let mut pieces = Vec::new();
    while received.blocking_recv_many(&mut pieces, MAX_WAITING) > 0 {
        for of_one_stream in pieces.chunk_by(|a, b| a.0 == b.0) {
            let stream = of_one_stream[0].0;
            let output = match stream {
                OutputStream::Stdout => &mut stdout,
                OutputStream::Stderr => &mut stderr,
            };
            let slices = of_one_stream.iter().map(|(_, bytes)| &bytes[..]);
            write_all(output, slices).map_err(output_error(stream))?;
        }
        pieces.clear();
    }
    Ok(())
}

/// Writes all of `slices`, together where possible.
fn write_all<'a>(output: &mut File, slices: impl Iterator<Item = &'a [u8]>) -> io::Result<()> {
    let mut slices: Vec<_> = slices.filter(|bytes| !bytes.is_empty()).map(IoSlice::new).collect();
    let mut slices = &mut slices[..];
    while !slices.is_empty() {
        match output.write_vectored(slices) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => IoSlice::advance_slices(&mut slices, written),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn read_to(mut reader: File, mut sink: Sink, runtime: &Handle) -> io::Result<()> {
    let mut buffer = BytesMut::new();
    loop {
        buffer.resize(PIECE_SIZE, 0);
        let size = match reader.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            size => size?,
        };
        let piece = buffer.split_to(size).freeze();
        if runtime.block_on(sink.write_bytes(piece)).is_err() {
            return Ok(());
        }
    }
}

fn write_from(mut source: Source, mut output: File, runtime: &Handle) -> io::Result<()> {
    loop {
        let bytes = runtime.block_on(source.read_bytes());
        if bytes.is_empty() {
            return Ok(());
        }
        output.write_all(&bytes)?;
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Seek as _, SeekFrom};

    use capstan_core::stream::pipe;

    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn threads_copy_everything() {
        let mut file = tempfile::tempfile().unwrap();
        let written: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_le_bytes).collect();
        file.write_all(&written).unwrap();
        file.seek(SeekFrom::Start(0)).unwrap();
        let (sink, source) = pipe(CAPACITY);
        let mut output_file = tempfile::tempfile().unwrap();
        let mut input = CopyThread::read(file, sink).unwrap();
        let mut output = CopyThread::write(source, &output_file).unwrap();
        input.finished().await.unwrap();
        output.finished().await.unwrap();
        output_file.seek(SeekFrom::Start(0)).unwrap();
        let mut read = Vec::new();
        output_file.read_to_end(&mut read).unwrap();
        assert!(read == written);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn write_to_a_broken_pipe_fails_with_the_error_of_the_pipe() {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let (mut sink, source) = pipe(CAPACITY);
        let mut output = CopyThread::write(source, &writer).unwrap();
        while sink.write_bytes(Bytes::from_static(b"x")).await.is_ok() {
            tokio::task::yield_now().await;
        }
        assert_eq!(output.finished().await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}
