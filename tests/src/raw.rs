//! `Raw`: a connection on which a test writes what no client library would.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt, WriteHalf};
use tokio::task::JoinHandle;

use crate::client::Stream;
use crate::{Address, Daemon, within};

/// A connection without manners.
pub struct Raw {
    stream: Box<dyn Stream>,
    authority: String,
}

impl std::fmt::Debug for Raw {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Raw").field("authority", &self.authority).finish_non_exhaustive()
    }
}

impl Raw {
    /// Connects to the daemon's TCP address.
    pub async fn connect(daemon: &Daemon) -> Self {
        Self::try_connect(&Address::Tcp(daemon.addr())).await.unwrap()
    }

    /// Connects to any address.
    ///
    /// # Errors
    /// That nobody accepts there.
    pub async fn try_connect(address: &Address) -> io::Result<Self> {
        let stream = within("a connection", address.connect()).await?;
        Ok(Self { stream, authority: address.authority() })
    }

    /// Writes these bytes; `{host}` is what belongs into `Host`.
    pub async fn write(&mut self, bytes: &str) {
        self.try_write(bytes.replace("{host}", &self.authority).as_bytes()).await.unwrap();
    }

    /// Writes these bytes as they are.
    ///
    /// # Errors
    /// That the daemon has closed the connection.
    pub async fn try_write(&mut self, bytes: &[u8]) -> io::Result<()> {
        within("room on a connection", self.stream.write_all(bytes)).await?;
        self.stream.flush().await
    }

    /// Closes the writing half.
    pub async fn half_close(&mut self) {
        self.stream.shutdown().await.unwrap();
    }

    /// Reads until the daemon closes the connection; a reset ends it as well.
    pub async fn read_to_end(&mut self) -> Vec<u8> {
        let mut read = Vec::new();
        // What came before a reset is kept, and that is what tests look at.
        let _ = within("the end of a connection", self.stream.read_to_end(&mut read)).await;
        read
    }

    /// Reads exactly this many bytes.
    ///
    /// # Errors
    /// That the connection ends before.
    pub async fn read_exact(&mut self, count: usize) -> io::Result<Vec<u8>> {
        let mut read = vec![0; count];
        within("bytes of an answer", self.stream.read_exact(&mut read)).await?;
        Ok(read)
    }

    /// Reads all that comes from now on, while the test writes.
    pub fn listening(self) -> Talk {
        let (mut reader, writer) = tokio::io::split(self.stream);
        let reading = tokio::spawn(async move {
            let mut read = Vec::new();
            // As above: what came before a reset is kept.
            let _ = reader.read_to_end(&mut read).await;
            read
        });
        Talk { writer, reading, authority: self.authority }
    }

    /// Reads until `needle` has come, and returns all up to and with it.
    ///
    /// # Panics
    /// If the connection ends before.
    pub async fn read_until(&mut self, needle: &str) -> String {
        let mut read = Vec::new();
        while !read.ends_with(needle.as_bytes()) {
            match within(format!("{needle:?}"), self.stream.read_u8()).await {
                Ok(byte) => read.push(byte),
                Err(error) => panic!("{error} instead of {needle:?} after {:?}", String::from_utf8_lossy(&read)),
            }
        }
        String::from_utf8(read).unwrap()
    }

    /// Reads a frame: its stream, and its payload.
    ///
    /// # Panics
    /// If the connection ends before that is whole.
    pub async fn frame(&mut self) -> (u8, Vec<u8>) {
        let mut head = [0; 8];
        within("the head of a frame", self.stream.read_exact(&mut head)).await.unwrap();
        let [stream, a, b, c, length @ ..] = head;
        assert_eq!([a, b, c], [0; 3], "the reserved bytes of a frame are zero");
        let mut payload = vec![0; u32::from_be_bytes(length).try_into().unwrap()];
        within("the payload of a frame", self.stream.read_exact(&mut payload)).await.unwrap();
        (stream, payload)
    }

    /// Reads the head of an answer, and gives its status.
    pub async fn status(&mut self) -> u16 {
        let head = self.read_until("\r\n\r\n").await;
        head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("no status in {head:?}"))
    }
}

/// A connection that is read while it is written.
pub struct Talk {
    writer: WriteHalf<Box<dyn Stream>>,
    reading: JoinHandle<Vec<u8>>,
    authority: String,
}

impl std::fmt::Debug for Talk {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Talk").field("authority", &self.authority).finish_non_exhaustive()
    }
}

impl Talk {
    /// What belongs into `Host`.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// Writes these bytes as they are.
    ///
    /// # Errors
    /// That the daemon has closed the connection.
    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        within("room on a connection", self.writer.write_all(bytes)).await?;
        self.writer.flush().await
    }

    /// Whether the daemon has closed the connection.
    pub fn is_over(&self) -> bool {
        self.reading.is_finished()
    }

    /// Writes nothing more, but keeps that half open, and gives all that came until the daemon closed the connection.
    pub async fn end(self) -> Vec<u8> {
        within("the end of a connection", self.reading).await.unwrap()
    }
}
