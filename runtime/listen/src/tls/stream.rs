//! `TlsStream`: a connection after the handshake. Like the other streams, it is read and written through shared references.

use std::io::{self, BufRead as _, IoSlice, Read as _, Write as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use capstan_core::caller::Identity;
use rustix::net::Shutdown;
use rustls::ServerConnection;
use tokio::net::TcpStream;

use super::identity::identity_of;
use super::material::Material;
use super::protocol::ALPN_HTTP2;

/// A connection after the handshake, which encrypts and decrypts. The kernel has all written bytes once [`TlsStream::try_flush`] has
/// succeeded.
#[derive(Debug)]
pub struct TlsStream {
    tcp: TcpStream,
    /// Locked only while bytes are copied, and never across a wait.
    session: Mutex<ServerConnection>,
    material: Arc<Material>,
    identity: Option<Arc<Identity>>,
    is_http2: bool,
}

impl TlsStream {
    pub(super) fn new(tcp: TcpStream, session: ServerConnection, material: Arc<Material>) -> Self {
        let identity = session.peer_certificates().and_then(|chain| identity_of(chain.first()?)).map(Arc::new);
        let is_http2 = session.alpn_protocol() == Some(ALPN_HTTP2);
        Self { tcp, session: Mutex::new(session), material, identity, is_http2 }
    }

    /// Returns the TCP connection below.
    pub(crate) fn tcp(&self) -> &TcpStream {
        &self.tcp
    }

    /// Returns the certificate and the rules of its handshake.
    pub fn material(&self) -> &Arc<Material> {
        &self.material
    }

    /// Returns the identity that the client has proved. Returns `None` without mutual TLS.
    pub(crate) fn identity(&self) -> Option<&Arc<Identity>> {
        self.identity.as_ref()
    }

    /// Returns whether the handshake selected HTTP/2.
    pub fn is_http2(&self) -> bool {
        self.is_http2
    }

    pub(crate) fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.session().reader().fill_buf() {
            // The session may still hold decrypted bytes that did not fit into the last buffer, while the socket has none.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            _ => return Poll::Ready(Ok(())),
        }
        self.tcp.poll_read_ready(cx)
    }

    /// Reads decrypted bytes, after at most one read from the socket. A record may contain no data for the caller, which is
    /// `WouldBlock`.
    pub(crate) fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut session = self.session();
        fill(&self.tcp, &mut session)?;
        session.reader().read(buffer)
    }

    /// Reads from the socket until there are decrypted bytes, or the end of the stream, without taking them.
    pub fn try_fill(&self) -> io::Result<()> {
        let mut session = self.session();
        fill(&self.tcp, &mut session)?;
        session.reader().fill_buf().map(drop)
    }

    /// Encrypts as many bytes as fit into the buffer of the session, once the kernel has taken all earlier ones. Returns their number.
    pub(crate) fn try_write_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut session = self.session();
        send(&self.tcp, &mut session)?;
        let written = session.writer().write_vectored(slices)?;
        ignore_full(send(&self.tcp, &mut session))?;
        Ok(written)
    }

    /// Passes the encrypted bytes to the kernel.
    pub(crate) fn try_flush(&self) -> io::Result<()> {
        send(&self.tcp, &mut self.session())
    }

    pub(crate) fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            match self.try_flush() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready!(self.tcp.poll_write_ready(cx))?,
                result => return Poll::Ready(result),
            }
        }
    }

    /// Sends the client the end of the stream. Call it again after `WouldBlock`.
    pub(crate) fn shutdown(&self) -> io::Result<()> {
        let mut session = self.session();
        session.send_close_notify();
        send(&self.tcp, &mut session)?;
        Ok(rustix::net::shutdown(&self.tcp, Shutdown::Write)?)
    }

    fn session(&self) -> MutexGuard<'_, ServerConnection> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads from the socket once, unless there are decrypted bytes or the end of the stream already.
fn fill(tcp: &TcpStream, session: &mut ServerConnection) -> io::Result<()> {
    match session.reader().fill_buf() {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
        result => return result.map(drop),
    }
    session.read_tls(&mut Socket(tcp))?;
    if let Err(error) = session.process_new_packets() {
        // The alert tells the client why. It is lost if the send buffer of the socket is full.
        let _ = send(tcp, session);
        return Err(io::Error::new(io::ErrorKind::InvalidData, error));
    }
    ignore_full(send(tcp, session))
}

/// Passes all encrypted bytes of the session to the kernel.
fn send(tcp: &TcpStream, session: &mut ServerConnection) -> io::Result<()> {
    while session.wants_write() {
        if session.write_tls(&mut Socket(tcp))? == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
    }
    Ok(())
}

/// Turns `WouldBlock` into success: the session keeps the bytes and sends them with the next write or flush.
fn ignore_full(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
        result => result,
    }
}

/// Lets a session read from and write to a socket without waiting.
struct Socket<'a>(&'a TcpStream);

impl io::Read for Socket<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(buffer)
    }
}

impl io::Write for Socket<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(slices)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use capstan_tests::tls::{self as certificates, Authority};
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::TcpListener;

    use super::*;
    use crate::tls::{FileContent, Files, Server};

    /// Returns the client's and the server's end of a connection after the handshake.
    async fn tls_pair() -> (tokio_rustls::client::TlsStream<TcpStream>, TlsStream) {
        let ca = Authority::new("Test CA");
        let own = ca.server();
        let files = Files { cert: Some("cert".into()), key: Some("key".into()), ..Files::default() };
        let server: Arc<Server> = Server::load(&files, |path| {
            let text = if path.ends_with("key") { &own.key } else { &own.chain };
            Ok(FileContent { bytes: text.clone().into(), mode: 0o600 })
        })
        .unwrap()
        .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        let client = certificates::connect(certificates::config(&ca, None), stream);
        let (client, served) = tokio::join!(client, server.handshake(accepted));
        (client.unwrap(), served.unwrap())
    }

    async fn read(tls: &TlsStream) -> io::Result<Vec<u8>> {
        let mut buffer = [0; 100];
        loop {
            match tls.try_read(&mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => tls.tcp().readable().await?,
                result => return result.map(|length| buffer[..length].to_vec()),
            }
        }
    }

    #[tokio::test]
    async fn read_of_a_connection_without_close_notify_fails() {
        let (mut client, served) = tls_pair().await;
        client.write_all(b"all").await.unwrap();
        client.shutdown().await.unwrap();
        assert_eq!((read(&served).await.unwrap(), read(&served).await.unwrap()), (b"all".to_vec(), Vec::new()));

        let (mut client, served) = tls_pair().await;
        client.write_all(b"half").await.unwrap();
        client.get_mut().0.shutdown().await.unwrap();
        assert_eq!(read(&served).await.unwrap(), b"half");
        assert_eq!(read(&served).await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[tokio::test]
    async fn poll_read_ready_with_decrypted_bytes_left_is_ready() {
        let (mut client, served) = tls_pair().await;
        client.write_all(&[7; 250]).await.unwrap();
        assert_eq!(read(&served).await.unwrap().len(), 100);
        // 150 bytes of the record are left, and nothing else arrives.
        for length in [100, 50] {
            std::future::poll_fn(|cx| served.poll_read_ready(cx)).await.unwrap();
            assert_eq!(read(&served).await.unwrap().len(), length);
        }
        let readiness = std::future::poll_fn(|cx| served.poll_read_ready(cx));
        let result = tokio::time::timeout(std::time::Duration::from_millis(20), async {
            readiness.await.unwrap();
            // Only a read from the socket shows that it has nothing.
            read(&served).await
        });
        assert!(result.await.is_err(), "there is nothing left to read");
    }

    #[tokio::test]
    async fn bytes_beyond_the_socket_buffer_are_sent_by_flush() {
        let (mut client, served) = tls_pair().await;
        let (mut written, block) = (0, [7; 16 << 10]);
        while let Ok(count) = served.try_write_vectored(&[IoSlice::new(&block)]) {
            written += count;
        }
        assert!(served.try_flush().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock));
        let ending = async {
            std::future::poll_fn(|cx| served.poll_flush(cx)).await.unwrap();
            served.shutdown().unwrap();
        };
        let mut received = Vec::new();
        let reading = tokio::io::AsyncReadExt::read_to_end(&mut client, &mut received);
        let (received, ()) = tokio::join!(reading, ending);
        assert_eq!(received.unwrap(), written);
    }
}
