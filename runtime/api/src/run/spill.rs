//! Spills output that the client does not read to a file, while the body of the request is still arriving.
//!
//! Many clients send their whole body before they read anything. With bounded pipes alone such a client and a guest that echoes would
//! deadlock. The file has no name, holds at most as many bytes as the limit on stdout, and is deleted with the run.
//!
//! A client that reads gets the output from the pipe of the guest. Only when the guest has waited for it for [`PATIENCE`] does the spill come
//! in between, and it stays there until the end of the output.

use std::fs::File;
use std::future::poll_fn;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use capstan_core::outcome::Outcome;
use capstan_core::stream::{self, Sink, Source};
use capstan_engine::job::Job;
use capstan_engine::tasks::Tasks;
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use super::output::OutputRef;

/// Bytes that are read from the file at a time.
const CHUNK: usize = 64 << 10;
/// How long the guest waits for a client that does not read, before its output is spilled.
const PATIENCE: Duration = Duration::from_millis(50);
/// Bytes that wait for the client in memory, before the file is used.
const MEMORY: usize = 1 << 20;

/// Where output spills to, and how much of it.
#[derive(Debug)]
pub(crate) struct Spill {
    pub(crate) folder: PathBuf,
    /// The most bytes in the file at a time.
    pub(crate) max_bytes: u64,
    /// Spilling ends when this is cancelled; from then on a client that does not read blocks the guest.
    pub(crate) until: CancellationToken,
}

/// Spawns a task that spills `output` once the client stops reading it.
pub(crate) fn spawn(tasks: &Tasks, output: OutputRef, spill: Spill, job: &Job) {
    let job = job.clone();
    tasks.spawn("api", "unread output of a run", async move {
        if let Err(error) = spill_unread(output, spill).await {
            tracing::error!(job = %job.id(), %error, "cannot spill the output of a run to a file, so the run is ended");
            job.stop().request(Outcome::HostError {
                message: format!("cannot spill output to a file in the data directory: {error}"),
            });
        }
    });
}

async fn spill_unread(output: OutputRef, spill: Spill) -> io::Result<()> {
    let until = spill.until.clone();
    match until.run_until_cancelled(unread(output)).await.flatten() {
        Some((stdout, sink)) => copy(stdout, sink, spill).await,
        None => Ok(()),
    }
}

/// Waits until the client does not read, and then comes in between. Returns the output of the guest, and the sink that the client reads.
/// `None` if the output was dropped.
async fn unread(output: OutputRef) -> Option<(Source, Sink)> {
    let (sink, mut spilled) = stream::pipe(MEMORY);
    loop {
        let reads = output.guest_blocked().await?;
        tokio::time::sleep(PATIENCE).await;
        match output.exchange_if_unread(reads, spilled) {
            Ok(stdout) => return Some((stdout, sink)),
            Err(unused) => spilled = unused,
        }
    }
}

async fn copy(mut stdout: Source, mut sink: Sink, spill: Spill) -> io::Result<()> {
    let mut file = FileQueue::new(spill.folder);
    let (mut next, mut is_open) = (Bytes::new(), true);
    loop {
        if next.is_empty() {
            next = file.pop().await?;
        }
        if next.is_empty() && !is_open {
            return Ok(());
        }
        let may_spill = file.len() < spill.max_bytes && !spill.until.is_cancelled();
        let has_next = !next.is_empty();
        tokio::select! {
            biased;
            written = poll_fn(|cx| sink.poll_write_bytes(cx, &mut next)), if has_next => {
                if written.is_err() {
                    // The client has disconnected; the guest gets an error when it writes more.
                    return Ok(());
                }
            }
            chunk = stdout.read_bytes(), if is_open && (!has_next || may_spill) => {
                is_open = !chunk.is_empty();
                if next.is_empty() {
                    next = chunk;
                } else if !chunk.is_empty() {
                    file.push(chunk).await?;
                }
            }
        }
    }
}

/// A queue of bytes in a file.
struct FileQueue {
    folder: PathBuf,
    file: Option<Arc<File>>,
    /// The offset of the first byte of the queue.
    start: u64,
    /// The offset after its last byte.
    end: u64,
}

impl FileQueue {
    fn new(folder: PathBuf) -> Self {
        Self { folder, file: None, start: 0, end: 0 }
    }

    fn len(&self) -> u64 {
        self.end - self.start
    }

    async fn push(&mut self, bytes: Bytes) -> io::Result<()> {
        let (file, folder, offset) = (self.file.take(), self.folder.clone(), self.end);
        self.end += bytes.len() as u64;
        self.file = Some(
            run_blocking(move || {
                let file = file.map_or_else(|| tempfile::tempfile_in(folder).map(Arc::new), Ok)?;
                file.write_all_at(&bytes, offset)?;
                Ok(file)
            })
            .await?,
        );
        Ok(())
    }

    /// Removes and returns the first bytes of the queue, up to 64 KiB; no bytes if it is empty.
    async fn pop(&mut self) -> io::Result<Bytes> {
        let Some(file) = self.file.clone().filter(|_| self.len() > 0) else { return Ok(Bytes::new()) };
        let (offset, length) = (self.start, self.len().min(CHUNK as u64));
        self.start += length;
        let is_empty = self.len() == 0;
        if is_empty {
            (self.start, self.end) = (0, 0);
        }
        run_blocking(move || {
            let mut bytes = vec![0; usize::try_from(length).expect("a chunk fits into memory")];
            file.read_exact_at(&mut bytes, offset)?;
            if is_empty {
                file.set_len(0)?;
            }
            Ok(bytes.into())
        })
        .await
    }
}

async fn run_blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    spawn_blocking(work).await.unwrap_or_else(|panicked| Err(io::Error::other(panicked)))
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt as _;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::super::output::Output;
    use super::*;

    struct Pipes {
        guest: Sink,
        client: Source,
        until: CancellationToken,
        copying: tokio::task::JoinSet<io::Result<()>>,
        folder: tempfile::TempDir,
    }

    fn spill_up_to(max_bytes: u64) -> Pipes {
        let folder = tempfile::tempdir().unwrap();
        let (guest, stdout) = stream::pipe(1024);
        let (sink, client) = stream::pipe(1024);
        let until = CancellationToken::new();
        let mut copying = tokio::task::JoinSet::new();
        copying.spawn(copy(stdout, sink, Spill { folder: folder.path().to_owned(), max_bytes, until: until.clone() }));
        Pipes { guest, client, until, copying, folder }
    }

    fn byte_sequence(length: usize) -> Vec<u8> {
        (0..length).map(|at| u8::try_from(at % 251).unwrap()).collect()
    }

    #[expect(clippy::disallowed_methods, reason = "a test looks into its own folder")]
    #[tokio::test]
    async fn output_written_before_any_read_is_read_in_order() {
        let mut pipes = spill_up_to(u64::MAX);
        let written = byte_sequence(1_000_000);
        pipes.guest.write_all(&written).await.unwrap();
        drop(pipes.guest);
        let mut read = Vec::new();
        pipes.client.read_to_end(&mut read).await.unwrap();
        assert!(read == written);
        pipes.copying.join_next().await.unwrap().unwrap().unwrap();
        assert_eq!(std::fs::read_dir(pipes.folder.path()).unwrap().count(), 0, "the file has a name");
    }

    #[tokio::test]
    async fn output_is_read_in_order_when_reads_and_writes_alternate() {
        let mut pipes = spill_up_to(u64::MAX);
        let written = byte_sequence(300_000);
        let mut read = Vec::new();
        for chunk in written.chunks(30_000) {
            pipes.guest.write_all(chunk).await.unwrap();
            let mut some = vec![0; 20_000];
            pipes.client.read_exact(&mut some).await.unwrap();
            read.extend(some);
        }
        drop(pipes.guest);
        pipes.client.read_to_end(&mut read).await.unwrap();
        assert!(read == written);
    }

    #[tokio::test]
    async fn guest_blocks_when_file_reaches_limit() {
        let mut pipes = spill_up_to(100_000);
        let write = pipes.guest.write_all(&[7; 1_000_000]);
        let waited = tokio::time::timeout(std::time::Duration::from_millis(200), write).await;
        assert!(waited.is_err(), "1 MB went into 100 kB and three pipes");
    }

    #[tokio::test]
    async fn guest_blocks_once_input_has_ended() {
        let mut pipes = spill_up_to(u64::MAX);
        pipes.until.cancel();
        let write = pipes.guest.write_all(&[7; 1_000_000]);
        let waited = tokio::time::timeout(std::time::Duration::from_millis(200), write).await;
        assert!(waited.is_err(), "1 MB went into three pipes");
    }

    #[tokio::test]
    async fn guest_gets_broken_pipe_when_client_disconnects() {
        let mut pipes = spill_up_to(u64::MAX);
        drop(pipes.client);
        while pipes.guest.write_all(&[7; 1024]).await.is_ok() {}
        pipes.copying.join_next().await.unwrap().unwrap().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn output_is_spilled_only_once_the_client_stops_reading() {
        let (mut guest, stdout) = stream::pipe(1024);
        let mut client = Output::new(stdout);
        let mut waiting = tokio::task::JoinSet::new();
        let output = client.downgrade();
        waiting.spawn(unread(output));
        // A client that reads: the guest waits now and then, but not for long.
        for _ in 0..10 {
            guest.write_all(&[1; 1024]).await.unwrap();
            let write = guest.write_all(&[1; 1024]);
            let read = async {
                tokio::time::sleep(PATIENCE / 2).await;
                [client.next().await.unwrap(), client.next().await.unwrap()].concat()
            };
            let (written, read) = tokio::join!(write, read);
            written.unwrap();
            assert_eq!(read.len(), 2048);
        }
        assert!(waiting.try_join_next().is_none());
        // One that does not read.
        guest.write_all(&[2; 1024]).await.unwrap();
        let (written, (_stdout, mut sink)) = tokio::join!(guest.write_all(&[3; 1024]), async {
            let (mut stdout, sink) = waiting.join_next().await.unwrap().unwrap().unwrap();
            assert_eq!(stdout.read_bytes().await, vec![2; 1024]);
            (stdout, sink)
        });
        written.unwrap();
        sink.write_all(b"spilled").await.unwrap();
        assert_eq!(client.next().await.unwrap(), "spilled");
    }

    #[tokio::test(start_paused = true)]
    async fn drop_of_the_output_breaks_the_pipe_of_the_guest() {
        let (mut guest, stdout) = stream::pipe(1024);
        let client = Output::new(stdout);
        let output = client.downgrade();
        drop(client);
        assert!(unread(output).await.is_none());
        assert!(guest.write_all(b"x").await.is_err());
    }
}
