//! `Raw`: a connection on which a test writes bytes that no client library would.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt, WriteHalf};
use tokio::task::JoinHandle;

use crate::client::Stream;
use crate::{Address, Daemon, within};

/// A connection without any protocol checks.
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
    /// Connects to the TCP address of the daemon.
    pub async fn connect(daemon: &Daemon) -> Self {
        Self::try_connect(&Address::Tcp(daemon.addr())).await.unwrap()
    }

    /// Connects to an address.
    ///
    /// # Errors
    /// If nothing accepts connections at the address.
    pub async fn try_connect(address: &Address) -> io::Result<Self> {
        let stream = within("a connection", address.connect()).await?;
        Ok(Self { stream, authority: address.authority() })
    }

    /// Writes bytes, with `{host}` replaced by the value for `Host`.
    pub async fn write(&mut self, bytes: &str) {
        self.try_write(bytes.replace("{host}", &self.authority).as_bytes()).await.unwrap();
    }

    /// Writes bytes unchanged.
    ///
    /// # Errors
    /// If the daemon has closed the connection.
    pub async fn try_write(&mut self, bytes: &[u8]) -> io::Result<()> {
        within("space in the send buffer", self.stream.write_all(bytes)).await?;
        self.stream.flush().await
    }

    /// Closes the sending half.
    pub async fn half_close(&mut self) {
        self.stream.shutdown().await.unwrap();
    }

    /// Reads until the daemon closes or resets the connection.
    pub async fn read_to_end(&mut self) -> Vec<u8> {
        let mut read = Vec::new();
        // Tests also check the bytes that arrived before a reset.
        let _ = within("the end of a connection", self.stream.read_to_end(&mut read)).await;
        read
    }

    /// Reads exactly `count` bytes.
    ///
    /// # Errors
    /// If the connection ends first.
    pub async fn read_exact(&mut self, count: usize) -> io::Result<Vec<u8>> {
        let mut read = vec![0; count];
        within("bytes of a response", self.stream.read_exact(&mut read)).await?;
        Ok(read)
    }

    /// Starts to read in the background while the test writes.
    pub fn read_in_background(self) -> BackgroundReader {
        let (mut reader, writer) = tokio::io::split(self.stream);
        let reading = tokio::spawn(async move {
            let mut read = Vec::new();
            // As above, keep the bytes that arrived before a reset.
            let _ = reader.read_to_end(&mut read).await;
            read
        });
        BackgroundReader { writer, reading, authority: self.authority }
    }

    /// Reads until the data ends with `needle`, and returns the data.
    ///
    /// # Panics
    /// If the connection ends first.
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

    /// Reads a frame and returns its stream and its payload.
    ///
    /// # Panics
    /// If the connection ends first.
    pub async fn frame(&mut self) -> (u8, Vec<u8>) {
        let mut head = [0; 8];
        within("the head of a frame", self.stream.read_exact(&mut head)).await.unwrap();
        let [stream, a, b, c, length @ ..] = head;
        assert_eq!([a, b, c], [0; 3], "the reserved bytes of a frame are zero");
        let mut payload = vec![0; u32::from_be_bytes(length).try_into().unwrap()];
        within("the payload of a frame", self.stream.read_exact(&mut payload)).await.unwrap();
        (stream, payload)
    }

    /// Reads the head of a response and returns its status.
    pub async fn status(&mut self) -> u16 {
        let head = self.read_until("\r\n\r\n").await;
        head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("no status in {head:?}"))
    }
}

/// A connection that is read in the background while the test writes.
pub struct BackgroundReader {
    writer: WriteHalf<Box<dyn Stream>>,
    reading: JoinHandle<Vec<u8>>,
    authority: String,
}

impl std::fmt::Debug for BackgroundReader {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("BackgroundReader").field("authority", &self.authority).finish_non_exhaustive()
    }
}

impl BackgroundReader {
    /// Returns the value for `Host`.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// Writes bytes unchanged.
    ///
    /// # Errors
    /// If the daemon has closed the connection.
    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        within("space in the send buffer", self.writer.write_all(bytes)).await?;
        self.writer.flush().await
    }

    /// Returns whether the daemon has closed the connection.
    pub fn is_closed(&self) -> bool {
        self.reading.is_finished()
    }

    /// Stops writing without closing the sending half, and returns everything that arrived until the daemon closed the connection.
    pub async fn end(self) -> Vec<u8> {
        within("the end of a connection", self.reading).await.unwrap()
    }
}
