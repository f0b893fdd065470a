//! TLS clients that the daemon rejects, and the reasons that they get: invalid certificates, stalled handshakes, and other protocols.

use std::io::{Read as _, Write as _};
use std::net::TcpStream as StdStream;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use capstan_tests::tls::{self, Authority, CLIENT, Leaf, SERVER};
use capstan_tests::{Address, Daemon, Raw, Setup, TIMEOUT, eventually};
use rcgen::{GeneralSubtree, NameConstraints, date_time_ymd};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustls::AlertDescription;
use rustls::version::{TLS12, TLS13};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::{ca, established, handshakes, mutual, setup};
use crate::{CAPSTAN, oracle};

/// Checks that the daemon serves a valid client and has closed all other connections.
async fn assert_healthy(daemon: &mut Daemon, ca: &Authority) {
    let client = daemon.tls_client(tls::config(ca, Some(&ca.client("well"))));
    assert_eq!(client.get("/_ping").send().await.status, 200);
    assert!(daemon.is_alive());
    eventually("all connections to be closed", async || (established(daemon) == 0).then_some(())).await;
    assert!(!daemon.log().contains("panicked"), "{}", daemon.log());
}

#[tokio::test]
async fn only_clients_with_a_valid_certificate_are_accepted() {
    use AlertDescription::{
        BadCertificate, CertificateExpired, CertificateRequired, CertificateUnknown, DecryptError, HandshakeFailure,
        UnknownCA, UnsupportedCertificate,
    };
    let (ca, rogue) = (ca(), Authority::new("Test CA"));
    let mut daemon = mutual(&ca).start();
    let constrained = ca.below("Constrained", |params| {
        let permitted_subtrees = vec![GeneralSubtree::DnsName("inside.test".to_owned())];
        params.name_constraints = Some(NameConstraints { permitted_subtrees, excluded_subtrees: Vec::new() });
    });
    let deep = (0..10).fold(ca.below("0", |_| {}), |above, level| above.below(&format!("{level}"), |_| {}));
    let shallow = ca.below("below", |_| {}).below("below that", |_| {});
    let refused: [(&str, Option<Leaf>, &[AlertDescription]); 9] = [
        ("none", None, &[CertificateRequired, HandshakeFailure]),
        ("self-signed", Some(Leaf::self_signed(CLIENT)), &[UnknownCA]),
        ("of a rogue authority of the same name", Some(rogue.client("ann")), &[DecryptError]),
        ("expired", Some(ca.issue(CLIENT, |leaf| leaf.not_after = date_time_ymd(2020, 1, 1))), &[CertificateExpired]),
        (
            "not yet valid",
            Some(ca.issue(CLIENT, |leaf| leaf.not_before = date_time_ymd(4000, 1, 1))),
            &[CertificateExpired, BadCertificate],
        ),
        ("for servers", Some(ca.issue(SERVER, |_| {})), &[UnsupportedCertificate]),
        ("beyond its issuer's names", Some(constrained.client("outside")), &[BadCertificate, CertificateUnknown]),
        ("a chain of eleven", Some(deep.client("deep")), &[UnknownCA, BadCertificate, CertificateUnknown]),
        ("the authority's own for servers", Some(ca.server()), &[UnsupportedCertificate]),
    ];
    for (what, leaf, alerts) in &refused {
        for version in [&TLS12, &TLS13] {
            let config = tls::config_of(&ca, leaf.as_ref(), &[version]);
            let alert = tls::refusal(config, TcpStream::connect(daemon.addr()).await.unwrap()).await;
            assert!(alerts.contains(&alert), "{what}, {version:?}: {alert:?}");
        }
    }
    assert_eq!(handshakes(&daemon, "failed").await, 18);
    let client = daemon.tls_client(tls::config(&ca, Some(&shallow.client("ann"))));
    assert_eq!(client.get("/_ping").send().await.status, 200, "a chain of three must be accepted");
    assert_healthy(&mut daemon, &ca).await;
}

#[tokio::test]
async fn revoked_client_is_rejected_at_startup_and_after_a_reload() {
    let ca = ca();
    let (ann, bob) = (ca.client("ann"), ca.client("bob"));
    let setup = mutual(&ca);
    let list = tls::write(setup.folder(), "crl.pem", &ca.revoked(&[&ann]));
    let mut daemon = setup.arg("--tls-crl").arg(&list).start();
    let refusal = async |leaf: &Leaf| {
        let stream = TcpStream::connect(daemon.addr()).await.unwrap();
        tls::refusal(tls::config(&ca, Some(leaf)), stream).await
    };
    assert_eq!(refusal(&ann).await, AlertDescription::CertificateRevoked);
    let client = daemon.tls_client(tls::config(&ca, Some(&bob)));
    assert_eq!(client.get("/_ping").send().await.status, 200);
    tls::write(list.parent().unwrap(), "crl.pem", &ca.revoked(&[&ann, &bob]));
    daemon.signal(rustix::process::Signal::HUP);
    eventually("bob to be rejected", async || client.get("/_ping").try_open().await.is_err().then_some(())).await;
    assert_eq!(refusal(&bob).await, AlertDescription::CertificateRevoked);
    // A client whose authority has no revocation list is rejected, because its status is unknown.
    let below = ca.below("below", |_| {}).client("cid");
    let stream = TcpStream::connect(daemon.addr()).await.unwrap();
    tls::refusal(tls::config(&ca, Some(&below)), stream).await;
    assert_healthy(&mut daemon, &ca).await;
}

#[tokio::test]
async fn plain_http_on_the_tls_port_gets_400() {
    let ca = ca();
    let mut daemon = mutual(&ca).start();
    let plain = Address::Tcp(daemon.addr());
    for request in ["GET /_ping HTTP/1.1\r\nHost: {host}\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "G"] {
        let mut raw = Raw::try_connect(&plain).await.unwrap();
        raw.write(request).await;
        let answer = String::from_utf8(raw.read_to_end().await).unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("\"tls_required\""), "{answer}");
        assert!(!answer.contains("retry-after"), "{answer}");
    }
    assert_eq!(handshakes(&daemon, "plain").await, 3);
    // This is not TLS either, and is rejected.
    for garbage in [&[0; 64][..], &[0x80, 0x2e, 1, 3, 1, 0, 0, 0], &[0xff; 3000], &[0x16, 3, 1, 0, 0]] {
        let mut raw = Raw::try_connect(&plain).await.unwrap();
        raw.try_write(garbage).await.unwrap();
        raw.half_close().await;
        assert!(!raw.read_to_end().await.starts_with(b"HTTP"), "{garbage:?}");
    }
    assert_healthy(&mut daemon, &ca).await;
}

#[tokio::test]
async fn tls_on_the_plain_port_gets_400() {
    let mut daemon = Daemon::start(CAPSTAN);
    let stream = TcpStream::connect(daemon.addr()).await.unwrap();
    let error = tls::connect(tls::config(&ca(), None), stream).await.unwrap_err();
    assert!(error.to_string().contains("InvalidContentType"), "{error}");
    let mut raw = Raw::connect(&daemon).await;
    raw.try_write(&[0x16, 3, 1, 0, 5, 1, 0, 0, 1, 0]).await.unwrap();
    let answer = String::from_utf8(raw.read_to_end().await).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    oracle::still_answers(&mut daemon).await;
}

/// The bytes of a handshake that are sent before it stalls.
const STALLS: [&[u8]; 4] =
    [b"", b"\x16", b"\x16\x03\x01\x02\x00\x01\x00", &[0x16, 3, 1, 0x40, 0, 1, 0, 0x3f, 0xfc, 3, 3]];

#[tokio::test]
async fn stalled_handshake_times_out_and_does_not_block_others() {
    let ca = ca();
    let mut daemon = mutual(&ca).start();
    let began = Instant::now();
    let stalled: Vec<_> = STALLS
        .iter()
        .map(|sent| {
            let mut stream = StdStream::connect(daemon.addr()).unwrap();
            stream.write_all(sent).unwrap();
            stream.set_read_timeout(Some(TIMEOUT)).unwrap();
            stream
        })
        .collect();
    let client = daemon.tls_client(tls::config(&ca, Some(&ca.client("ann"))));
    assert_eq!(client.get("/_ping").send().await.status, 200);
    for mut stream in stalled {
        // The end of the connection, or a reset because of unread data.
        let _ = stream.read(&mut [0; 64]);
    }
    assert!(began.elapsed() >= Duration::from_secs(4), "{:?}", began.elapsed());
    eventually("four handshakes to time out", async || (handshakes(&daemon, "late").await == 4).then_some(())).await;
    assert_healthy(&mut daemon, &ca).await;
}

#[tokio::test]
async fn too_many_stalled_handshakes_are_evicted() {
    let ca = ca();
    let mut daemon = mutual(&ca).start();
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
    let stalled: Vec<_> = (0..600).map(|_| StdStream::connect(daemon.addr()).unwrap()).collect();
    let client = daemon.tls_client(tls::config(&ca, Some(&ca.client("ann"))));
    assert_eq!(client.get("/_ping").send().await.status, 200);
    // At most 512 handshakes run at a time, and the valid client is number 601.
    let ended = async || handshakes(&daemon, "crowded").await + handshakes(&daemon, "late").await;
    eventually("the oldest handshakes to be evicted", async || (ended().await >= 89).then_some(())).await;
    drop(stalled);
    assert_healthy(&mut daemon, &ca).await;
}

/// A connection that sends each byte separately.
struct ByteByByte(TcpStream);

impl AsyncRead for ByteByByte {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for ByteByByte {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, &bytes[..bytes.len().min(1)])
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[tokio::test]
async fn handshake_in_single_bytes_succeeds() {
    let ca = ca();
    let mut daemon = mutual(&ca).start();
    let mut config = tls::config(&ca, Some(&ca.client("ann")));
    // Records of 32 bytes, sent byte by byte.
    config.max_fragment_size = Some(32);
    let stream = TcpStream::connect(daemon.addr()).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let connected = tls::connect(config, ByteByByte(stream)).await.unwrap();
    assert_eq!(connected.get_ref().1.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
    drop(connected);
    assert_healthy(&mut daemon, &ca).await;
}

/// Builds the ClientHello of a client that supports at most 3.`minor` (2 is TLS 1.1), with extensions of newer versions or with none.
fn hello(minor: u8, extensions: &[u8]) -> Vec<u8> {
    let mut hello = vec![3, minor];
    hello.extend([7; 32]);
    // No session, two cipher suites, no compression.
    hello.extend([0, 0, 4, 0, 0x2f, 0xc0, 0x13, 1, 0]);
    hello.extend(extensions);
    let length = u8::try_from(hello.len()).unwrap();
    let mut record = vec![0x16, 3, 1, 0, length + 4, 1, 0, 0, length];
    record.extend(hello);
    record
}

#[tokio::test]
async fn old_tls_versions_are_rejected_with_an_alert() {
    let ca = ca();
    let mut daemon = setup(&ca).start();
    // Old clients do not send the supported groups and signature algorithms. The daemon rejects them for that alone.
    let newer = [0, 16, 0, 10, 0, 4, 0, 2, 0, 0x1d, 0, 13, 0, 4, 0, 2, 4, 3];
    for (minor, extensions, alert) in
        [(0, &newer[..], 70), (1, &newer[..], 70), (2, &newer[..], 70), (2, &[], 40), (1, &[], 40)]
    {
        let mut raw = Raw::try_connect(&Address::Tcp(daemon.addr())).await.unwrap();
        raw.try_write(&hello(minor, extensions)).await.unwrap();
        let answer = raw.read_to_end().await;
        // A fatal alert: 70 is protocol_version, 40 is handshake_failure.
        assert_eq!((answer[0], &answer[5..]), (0x15, &[2, alert][..]), "3.{minor} {extensions:?}: {answer:?}");
    }
    assert_healthy(&mut daemon, &ca).await;
}

#[tokio::test]
async fn garbage_after_the_handshake_closes_only_its_connection() {
    let ca = ca();
    let mut daemon = Setup::new(CAPSTAN).tls(&ca.server()).start();
    for garbage in
        [&[0x17, 3, 3, 0, 32][..], &[0x17, 3, 3, 0, 1, 0], &[0x16, 3, 3, 0, 4, 1, 0, 0, 0], b"GET / HTTP/1.1\r\n\r\n"]
    {
        let stream = TcpStream::connect(daemon.addr()).await.unwrap();
        let secured = tls::connect(tls::config(&ca, None), stream).await.unwrap();
        // Write plain bytes instead of TLS records, such as the renegotiation of a TLS 1.2 client.
        let (mut stream, _session) = secured.into_inner();
        tokio::io::AsyncWriteExt::write_all(&mut stream, garbage).await.unwrap();
        tokio::io::AsyncWriteExt::shutdown(&mut stream).await.unwrap();
        let mut rest = Vec::new();
        let reading = tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut rest);
        // The connection ends, possibly with a reset.
        let _ = capstan_tests::within("the end of the connection", reading).await;
        assert!(!rest.starts_with(b"HTTP"), "{garbage:?}");
    }
    assert_healthy(&mut daemon, &ca).await;
}
