//! Who is not let in, and what they are told: certificates of every wrong kind, clients that stall, and those that speak something else.

use std::io::{Read as _, Write as _};
use std::net::TcpStream as StdStream;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use capstan_tests::tls::{self, Authority, CLIENT, Leaf, SERVER};
use capstan_tests::{Address, Daemon, PATIENCE, Raw, Setup, eventually};
use rcgen::{GeneralSubtree, NameConstraints, date_time_ymd};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustls::AlertDescription;
use rustls::version::{TLS12, TLS13};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::{ca, established, handshakes, mutual, setup};
use crate::{CAPSTAN, oracle};

/// The daemon answers a client that it likes, and has forgotten the others.
async fn assert_well(daemon: &mut Daemon, ca: &Authority) {
    let client = daemon.tls_client(tls::config(ca, Some(&ca.client("well"))));
    assert_eq!(client.get("/_ping").send().await.status, 200);
    assert!(daemon.is_alive());
    eventually("all connections to be gone", async || (established(daemon) == 0).then_some(())).await;
    assert!(!daemon.log().contains("panicked"), "{}", daemon.log());
}

#[tokio::test]
async fn only_clients_with_a_good_certificate_of_the_authority_are_let_in() {
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
    assert_eq!(client.get("/_ping").send().await.status, 200, "a chain of three is no fault");
    assert_well(&mut daemon, &ca).await;
}

#[tokio::test]
async fn who_is_revoked_is_not_let_in_from_the_start_or_after_a_reload() {
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
    eventually("bob to be refused", async || client.get("/_ping").try_open().await.is_err().then_some(())).await;
    assert_eq!(refusal(&bob).await, AlertDescription::CertificateRevoked);
    // Whose authority has no list cannot be seen to be good.
    let below = ca.below("below", |_| {}).client("cid");
    let stream = TcpStream::connect(daemon.addr()).await.unwrap();
    tls::refusal(tls::config(&ca, Some(&below)), stream).await;
    assert_well(&mut daemon, &ca).await;
}

#[tokio::test]
async fn plain_http_on_the_port_of_tls_is_told_at_once() {
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
    // Neither is this TLS: it is refused as such.
    for garbage in [&[0; 64][..], &[0x80, 0x2e, 1, 3, 1, 0, 0, 0], &[0xff; 3000], &[0x16, 3, 1, 0, 0]] {
        let mut raw = Raw::try_connect(&plain).await.unwrap();
        raw.try_write(garbage).await.unwrap();
        raw.half_close().await;
        assert!(!raw.read_to_end().await.starts_with(b"HTTP"), "{garbage:?}");
    }
    assert_well(&mut daemon, &ca).await;
}

#[tokio::test]
async fn tls_on_a_plain_port_is_told_at_once() {
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

/// What is sent of a handshake before it stalls.
const STALLS: [&[u8]; 4] =
    [b"", b"\x16", b"\x16\x03\x01\x02\x00\x01\x00", &[0x16, 3, 1, 0x40, 0, 1, 0, 0x3f, 0xfc, 3, 3]];

#[tokio::test]
async fn a_handshake_that_stalls_is_ended_in_time_and_holds_nobody_up() {
    let ca = ca();
    let mut daemon = mutual(&ca).start();
    let began = Instant::now();
    let stalled: Vec<_> = STALLS
        .iter()
        .map(|sent| {
            let mut stream = StdStream::connect(daemon.addr()).unwrap();
            stream.write_all(sent).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream
        })
        .collect();
    let client = daemon.tls_client(tls::config(&ca, Some(&ca.client("ann"))));
    assert_eq!(client.get("/_ping").send().await.status, 200);
    for mut stream in stalled {
        // The end, or a reset over what was never read.
        let _ = stream.read(&mut [0; 64]);
    }
    assert!(began.elapsed() >= Duration::from_secs(4), "{:?}", began.elapsed());
    eventually("four to be late", async || (handshakes(&daemon, "late").await == 4).then_some(())).await;
    assert_well(&mut daemon, &ca).await;
}

#[tokio::test]
async fn more_that_stall_than_there_is_room_for_make_room() {
    let ca = ca();
    let mut daemon = mutual(&ca).start();
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
    let stalled: Vec<_> = (0..600).map(|_| StdStream::connect(daemon.addr()).unwrap()).collect();
    let client = daemon.tls_client(tls::config(&ca, Some(&ca.client("ann"))));
    assert_eq!(client.get("/_ping").send().await.status, 200);
    // 512 at a time, and it was the 601st.
    let ended = async || handshakes(&daemon, "crowded").await + handshakes(&daemon, "late").await;
    eventually("the first to have gone", async || (ended().await >= 89).then_some(())).await;
    drop(stalled);
    assert_well(&mut daemon, &ca).await;
}

/// A connection that sends each byte by itself.
struct Dribbling(TcpStream);

impl AsyncRead for Dribbling {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Dribbling {
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
async fn a_handshake_in_the_smallest_pieces_is_understood() {
    let ca = ca();
    let mut daemon = mutual(&ca).start();
    let mut config = tls::config(&ca, Some(&ca.client("ann")));
    // Records of 32 bytes, each sent byte by byte.
    config.max_fragment_size = Some(32);
    let stream = TcpStream::connect(daemon.addr()).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let connected = tls::connect(config, Dribbling(stream)).await.unwrap();
    assert_eq!(connected.get_ref().1.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
    drop(connected);
    assert_well(&mut daemon, &ca).await;
}

/// The first message of a client that knows nothing newer than `minor`, 2 for TLS 1.1; with the extensions of a newer one, or without any.
fn hello(minor: u8, extensions: &[u8]) -> Vec<u8> {
    let mut hello = vec![3, minor];
    hello.extend([7; 32]);
    // No session; two ciphers; no compression.
    hello.extend([0, 0, 4, 0, 0x2f, 0xc0, 0x13, 1, 0]);
    hello.extend(extensions);
    let length = u8::try_from(hello.len()).unwrap();
    let mut record = vec![0x16, 3, 1, 0, length + 4, 1, 0, 0, length];
    record.extend(hello);
    record
}

#[tokio::test]
async fn older_versions_are_refused_with_the_alert_for_it() {
    let ca = ca();
    let mut daemon = setup(&ca).start();
    // Which groups and signatures a client knows was not said in those days; without it, it is refused for that already.
    let newer = [0, 16, 0, 10, 0, 4, 0, 2, 0, 0x1d, 0, 13, 0, 4, 0, 2, 4, 3];
    for (minor, extensions, alert) in
        [(0, &newer[..], 70), (1, &newer[..], 70), (2, &newer[..], 70), (2, &[], 40), (1, &[], 40)]
    {
        let mut raw = Raw::try_connect(&Address::Tcp(daemon.addr())).await.unwrap();
        raw.try_write(&hello(minor, extensions)).await.unwrap();
        let answer = raw.read_to_end().await;
        // An alert, fatal, 70 for protocol_version, 40 for handshake_failure.
        assert_eq!((answer[0], &answer[5..]), (0x15, &[2, alert][..]), "3.{minor} {extensions:?}: {answer:?}");
    }
    assert_well(&mut daemon, &ca).await;
}

#[tokio::test]
async fn what_is_broken_after_the_handshake_ends_its_connection_only() {
    let ca = ca();
    let mut daemon = Setup::new(CAPSTAN).tls(&ca.server()).start();
    for garbage in
        [&[0x17, 3, 3, 0, 32][..], &[0x17, 3, 3, 0, 1, 0], &[0x16, 3, 3, 0, 4, 1, 0, 0, 0], b"GET / HTTP/1.1\r\n\r\n"]
    {
        let stream = TcpStream::connect(daemon.addr()).await.unwrap();
        let secured = tls::connect(tls::config(&ca, None), stream).await.unwrap();
        // As if there were no TLS, such as a client of TLS 1.2 that asks to begin anew.
        let (mut stream, _session) = secured.into_inner();
        tokio::io::AsyncWriteExt::write_all(&mut stream, garbage).await.unwrap();
        tokio::io::AsyncWriteExt::shutdown(&mut stream).await.unwrap();
        let mut rest = Vec::new();
        let reading = tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut rest);
        // It ends, be it by a reset.
        let _ = capstan_tests::within("the end", reading).await;
        assert!(!rest.starts_with(b"HTTP"), "{garbage:?}");
    }
    assert_well(&mut daemon, &ca).await;
}
