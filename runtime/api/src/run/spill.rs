//! The spill rule: output that nobody reads yet goes to a file while the request's body is still coming.
//!
//! Many clients send all they have before they read anything. With bounded pipes alone such a client and a guest that echoes would wait
//! for each other for ever. The file has no name, takes no more than the cap on stdout, and is gone with the run.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::{Buf as _, Bytes, BytesMut};
use capstan_core::outcome::Outcome;
use capstan_core::stream::{self, PIPE_CAPACITY, Sink, Source};
use capstan_engine::job::Job;
use capstan_engine::tasks::Tasks;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

/// Bytes that are read at a time.
const CHUNK: usize = 64 << 10;

/// Where output may spill to, and how far.
#[derive(Debug)]
pub(super) struct Spill {
    pub(super) folder: PathBuf,
    /// Bytes of the file.
    pub(super) most: u64,
    /// Spilling ends here; from then on who does not read holds the guest back.
    pub(super) until: CancellationToken,
}

/// `stdout` with room for what nobody reads yet.
pub(super) fn through(tasks: &Tasks, stdout: Source, spill: Spill, job: &Job) -> Source {
    let (sink, source) = stream::pipe(PIPE_CAPACITY);
    let job = job.clone();
    tasks.spawn("api", "output of a run that nobody reads yet", async move {
        if let Err(error) = copy(stdout, sink, spill).await {
            tracing::error!(job = %job.id(), %error, "cannot spill the output of a run, which ends it");
            job.stop().request(Outcome::HostError { message: format!("cannot spill output: {error}") });
        }
    });
    source
}

async fn copy(mut stdout: Source, mut sink: Sink, spill: Spill) -> io::Result<()> {
    let mut file = Spilled::new(spill.folder);
    let (mut next, mut buffer, mut open) = (Bytes::new(), BytesMut::new(), true);
    loop {
        if next.is_empty() {
            next = file.take().await?;
        }
        if next.is_empty() && !open {
            return Ok(());
        }
        let may_spill = file.len() < spill.most && !spill.until.is_cancelled();
        buffer.reserve(CHUNK);
        tokio::select! {
            biased;
            written = sink.write(&next), if !next.is_empty() => match written {
                Ok(written) => next.advance(written),
                // Nobody will read it; the guest finds out when it writes more.
                Err(_) => return Ok(()),
            },
            read = stdout.read_buf(&mut buffer), if open && (next.is_empty() || may_spill) => {
                open = read? > 0;
                let chunk = buffer.split().freeze();
                if next.is_empty() {
                    next = chunk;
                } else if !chunk.is_empty() {
                    file.put(chunk).await?;
                }
            }
        }
    }
}

/// A queue of bytes in a file.
struct Spilled {
    folder: PathBuf,
    file: Option<Arc<File>>,
    taken: u64,
    put: u64,
}

impl Spilled {
    fn new(folder: PathBuf) -> Self {
        Self { folder, file: None, taken: 0, put: 0 }
    }

    fn len(&self) -> u64 {
        self.put - self.taken
    }

    async fn put(&mut self, bytes: Bytes) -> io::Result<()> {
        let (file, folder, at) = (self.file.take(), self.folder.clone(), self.put);
        self.put += bytes.len() as u64;
        self.file = Some(
            blocking(move || {
                let file = file.map_or_else(|| tempfile::tempfile_in(folder).map(Arc::new), Ok)?;
                file.write_all_at(&bytes, at)?;
                Ok(file)
            })
            .await?,
        );
        Ok(())
    }

    /// What was put first, up to 64 KiB of it; nothing if there is nothing.
    async fn take(&mut self) -> io::Result<Bytes> {
        let Some(file) = self.file.clone().filter(|_| self.len() > 0) else { return Ok(Bytes::new()) };
        let (at, length) = (self.taken, self.len().min(CHUNK as u64));
        self.taken += length;
        let emptied = self.len() == 0;
        if emptied {
            (self.taken, self.put) = (0, 0);
        }
        blocking(move || {
            let mut bytes = vec![0; usize::try_from(length).expect("a chunk fits into memory")];
            file.read_exact_at(&mut bytes, at)?;
            if emptied {
                file.set_len(0)?;
            }
            Ok(bytes.into())
        })
        .await
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    spawn_blocking(work).await.unwrap_or_else(|panicked| Err(io::Error::other(panicked)))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Pipes {
        guest: Sink,
        client: Source,
        until: CancellationToken,
        copying: tokio::task::JoinSet<io::Result<()>>,
        folder: tempfile::TempDir,
    }

    fn spilling(most: u64) -> Pipes {
        let folder = tempfile::tempdir().unwrap();
        let (guest, stdout) = stream::pipe(1024);
        let (sink, client) = stream::pipe(1024);
        let until = CancellationToken::new();
        let mut copying = tokio::task::JoinSet::new();
        copying.spawn(copy(stdout, sink, Spill { folder: folder.path().to_owned(), most, until: until.clone() }));
        Pipes { guest, client, until, copying, folder }
    }

    fn counted(length: usize) -> Vec<u8> {
        (0..length).map(|at| u8::try_from(at % 251).unwrap()).collect()
    }

    #[expect(clippy::disallowed_methods, reason = "a test looks into its own folder")]
    #[tokio::test]
    async fn what_is_written_before_anything_is_read_comes_out_in_order() {
        let mut pipes = spilling(u64::MAX);
        let written = counted(1_000_000);
        pipes.guest.write_all(&written).await.unwrap();
        drop(pipes.guest);
        let mut read = Vec::new();
        pipes.client.read_to_end(&mut read).await.unwrap();
        assert!(read == written);
        pipes.copying.join_next().await.unwrap().unwrap().unwrap();
        assert_eq!(std::fs::read_dir(pipes.folder.path()).unwrap().count(), 0, "the file has a name");
    }

    #[tokio::test]
    async fn reading_and_writing_may_alternate_as_they_like() {
        let mut pipes = spilling(u64::MAX);
        let written = counted(300_000);
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
    async fn beyond_the_most_the_guest_waits() {
        let mut pipes = spilling(100_000);
        let write = pipes.guest.write_all(&[7; 1_000_000]);
        let waited = tokio::time::timeout(std::time::Duration::from_millis(200), write).await;
        assert!(waited.is_err(), "1 MB went into 100 kB and three pipes");
    }

    #[tokio::test]
    async fn once_the_input_has_ended_the_guest_waits() {
        let mut pipes = spilling(u64::MAX);
        pipes.until.cancel();
        let write = pipes.guest.write_all(&[7; 1_000_000]);
        let waited = tokio::time::timeout(std::time::Duration::from_millis(200), write).await;
        assert!(waited.is_err(), "1 MB went into three pipes");
    }

    #[tokio::test]
    async fn a_client_that_leaves_is_a_broken_pipe_for_the_guest() {
        let mut pipes = spilling(u64::MAX);
        drop(pipes.client);
        while pipes.guest.write_all(&[7; 1024]).await.is_ok() {}
        pipes.copying.join_next().await.unwrap().unwrap().unwrap();
    }
}
