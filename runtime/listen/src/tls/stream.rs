//! `Tls`: a secured connection whose halves are used by reference, as those of the others are.

use std::io::{self, BufRead as _, IoSlice, Read as _, Write as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use rustix::net::Shutdown;
use rustls::ServerConnection;
use tokio::net::TcpStream;

use super::identity::identity_of;
use super::server::{H2, Material};
use capstan_core::caller::Identity;

/// A secured connection. What is read is plain, and so is what is written; it is with the kernel once [`Tls::try_flush`] has succeeded.
#[derive(Debug)]
pub struct Tls {
    tcp: TcpStream,
    /// Held while bytes are copied, and never for longer.
    session: Mutex<ServerConnection>,
    material: Arc<Material>,
    identity: Option<Arc<Identity>>,
    is_http2: bool,
}

impl Tls {
    pub(super) fn new(tcp: TcpStream, session: ServerConnection, material: Arc<Material>) -> Self {
        let identity = session.peer_certificates().and_then(|chain| identity_of(chain.first()?)).map(Arc::new);
        let is_http2 = session.alpn_protocol() == Some(H2);
        Self { tcp, session: Mutex::new(session), material, identity, is_http2 }
    }

    /// What is under it.
    pub(crate) fn tcp(&self) -> &TcpStream {
        &self.tcp
    }

    /// What it is secured with.
    pub fn material(&self) -> &Arc<Material> {
        &self.material
    }

    /// Who the client has proved to be; `None` where nobody asked.
    pub(crate) fn identity(&self) -> Option<&Arc<Identity>> {
        self.identity.as_ref()
    }

    /// Whether HTTP/2 was agreed on.
    pub fn is_http2(&self) -> bool {
        self.is_http2
    }

    pub(crate) fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.session().reader().fill_buf() {
            // There may be more plain bytes than were taken last, and then the socket need not have any.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            _ => return Poll::Ready(Ok(())),
        }
        self.tcp.poll_read_ready(cx)
    }

    /// Reads at most once from the socket: of what comes nothing need be for the caller.
    pub(crate) fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut session = self.session();
        fill(&self.tcp, &mut session)?;
        session.reader().read(buffer)
    }

    /// Sees to it that there is something to be read, or the end.
    pub fn try_fill(&self) -> io::Result<()> {
        let mut session = self.session();
        fill(&self.tcp, &mut session)?;
        session.reader().fill_buf().map(drop)
    }

    /// Takes as much as there is room for, once all that was taken before is with the kernel.
    pub(crate) fn try_write_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut session = self.session();
        send(&self.tcp, &mut session)?;
        let written = session.writer().write_vectored(slices)?;
        unless_full(send(&self.tcp, &mut session))?;
        Ok(written)
    }

    /// Hands the kernel what was taken.
    pub(crate) fn try_flush(&self) -> io::Result<()> {
        send(&self.tcp, &mut self.session())
    }

    pub(crate) fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            match self.try_flush() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready!(self.tcp.poll_write_ready(cx))?,
                flushed => return Poll::Ready(flushed),
            }
        }
    }

    /// Tells the client that nothing more comes; to be called again where there was no room for that.
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

/// Takes what has come, unless there is plain text, or its end, already.
fn fill(tcp: &TcpStream, session: &mut ServerConnection) -> io::Result<()> {
    match session.reader().fill_buf() {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
        filled => return filled.map(drop),
    }
    session.read_tls(&mut Socket(tcp))?;
    if let Err(error) = session.process_new_packets() {
        // The client is told why, as far as there is room.
        let _ = send(tcp, session);
        return Err(io::Error::new(io::ErrorKind::InvalidData, error));
    }
    unless_full(send(tcp, session))
}

/// Hands the kernel all that the session has to send.
fn send(tcp: &TcpStream, session: &mut ServerConnection) -> io::Result<()> {
    while session.wants_write() {
        if session.write_tls(&mut Socket(tcp))? == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
    }
    Ok(())
}

/// What does not fit goes out with what is sent next, or flushed.
fn unless_full(sent: io::Result<()>) -> io::Result<()> {
    match sent {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
        sent => sent,
    }
}

/// A socket for a session to read from and write to, without waiting.
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
    use crate::tls::{Files, Read, Server};

    /// Both ends of a secured connection.
    async fn pair() -> (tokio_rustls::client::TlsStream<TcpStream>, Tls) {
        let ca = Authority::new("Test CA");
        let own = ca.server();
        let files = Files { cert: Some("cert".into()), key: Some("key".into()), ..Files::default() };
        let server: Arc<Server> = Server::load(&files, |path| {
            let text = if path.ends_with("key") { &own.key } else { &own.chain };
            Ok(Read { bytes: text.clone().into(), mode: 0o600 })
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

    async fn read(tls: &Tls) -> io::Result<Vec<u8>> {
        let mut buffer = [0; 100];
        loop {
            match tls.try_read(&mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => tls.tcp().readable().await?,
                read => return read.map(|length| buffer[..length].to_vec()),
            }
        }
    }

    #[tokio::test]
    async fn an_end_that_was_not_said_is_no_end() {
        let (mut client, served) = pair().await;
        client.write_all(b"all").await.unwrap();
        client.shutdown().await.unwrap();
        assert_eq!((read(&served).await.unwrap(), read(&served).await.unwrap()), (b"all".to_vec(), Vec::new()));

        let (mut client, served) = pair().await;
        client.write_all(b"half").await.unwrap();
        client.get_mut().0.shutdown().await.unwrap();
        assert_eq!(read(&served).await.unwrap(), b"half");
        assert_eq!(read(&served).await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[tokio::test]
    async fn what_is_left_of_a_record_is_ready_though_the_socket_has_nothing() {
        let (mut client, served) = pair().await;
        client.write_all(&[7; 250]).await.unwrap();
        assert_eq!(read(&served).await.unwrap().len(), 100);
        // There are 150 more, and nothing comes any more.
        for length in [100, 50] {
            std::future::poll_fn(|cx| served.poll_read_ready(cx)).await.unwrap();
            assert_eq!(read(&served).await.unwrap().len(), length);
        }
        let more = std::future::poll_fn(|cx| served.poll_read_ready(cx));
        let waited = tokio::time::timeout(std::time::Duration::from_millis(20), async {
            more.await.unwrap();
            // The socket is looked at once more before it is known to have nothing.
            read(&served).await
        });
        assert!(waited.await.is_err(), "there is nothing to be read");
    }

    #[tokio::test]
    async fn what_there_is_no_room_for_goes_out_when_there_is() {
        let (mut client, served) = pair().await;
        let (mut written, block) = (0, [7; 16 << 10]);
        while let Ok(taken) = served.try_write_vectored(&[IoSlice::new(&block)]) {
            written += taken;
        }
        assert!(served.try_flush().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock));
        let ending = async {
            std::future::poll_fn(|cx| served.poll_flush(cx)).await.unwrap();
            served.shutdown().unwrap();
        };
        let mut read = Vec::new();
        let reading = tokio::io::AsyncReadExt::read_to_end(&mut client, &mut read);
        let (read_all, ()) = tokio::join!(reading, ending);
        assert_eq!(read_all.unwrap(), written);
    }
}
