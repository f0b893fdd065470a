//! Connections to the daemon, each made within [`CONNECT_TIMEOUT`].

use std::future::Future;
use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::net::{TcpStream, UnixStream};
use tokio::time::{sleep, timeout};

/// How long a connection, and a TLS handshake on it, may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long to wait before another attempt to connect to a unix socket whose queue is full.
const RETRY_INTERVAL: Duration = Duration::from_millis(20);

/// Connects to a unix socket.
///
/// # Errors
/// The error of the operating system, or `TimedOut` after [`CONNECT_TIMEOUT`].
pub(super) async fn connect_unix(path: &Path) -> io::Result<UnixStream> {
    connect_with_retry(|| UnixStream::connect(path)).await
}

/// Connects over TCP.
///
/// # Errors
/// The error of the operating system, or `TimedOut` after [`CONNECT_TIMEOUT`].
pub(super) async fn connect_tcp(host: &str, port: u16) -> io::Result<TcpStream> {
    let stream = connect_with_retry(|| TcpStream::connect((host, port))).await?;
    stream.set_nodelay(true)?;
    // A run may write nothing for hours. Keepalive detects that the daemon has disappeared.
    rustix::net::sockopt::set_socket_keepalive(&stream, true)?;
    rustix::net::sockopt::set_tcp_keepidle(&stream, Duration::from_secs(60))?;
    Ok(stream)
}

/// Makes [`TcpStream`] or [`UnixStream`] connections until one succeeds. Retries only `WouldBlock`: a unix socket reports it while its
/// queue is full, for example before the daemon opens its gate.
async fn connect_with_retry<T, F: Future<Output = io::Result<T>>>(connect: impl Fn() -> F) -> io::Result<T> {
    with_timeout(async {
        loop {
            match connect().await {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => sleep(RETRY_INTERVAL).await,
                result => return result,
            }
        }
    })
    .await
}

/// Waits for `attempt`, at most [`CONNECT_TIMEOUT`].
///
/// # Errors
/// The error of `attempt`, or `TimedOut`.
pub(super) async fn with_timeout<T>(attempt: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(CONNECT_TIMEOUT, attempt).await.unwrap_or_else(|_| {
        let message = format!("no connection within {} s", CONNECT_TIMEOUT.as_secs());
        Err(io::Error::new(io::ErrorKind::TimedOut, message))
    })
}
