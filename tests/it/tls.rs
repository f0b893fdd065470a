//! TLS: protocols, client certificates, names, and reloads of certificates at SIGHUP.

mod command;
mod invalid_files;
mod rejected_clients;

use capstan_tests::tls::{self, Authority};
use capstan_tests::{Address, Client, Daemon, Raw, Setup, eventually, frames, guests};
use rustix::process::Signal;
use rustls::version::{TLS12, TLS13};

use crate::jobs::api::submit;
use crate::startup::gate::BlockedStart;
use crate::{CAPSTAN, oracle};

/// Creates settings for a daemon on TCP with a certificate of this authority, and on a unix socket.
fn setup(ca: &Authority) -> Setup {
    Setup::new(CAPSTAN).tls(&ca.server())
}

/// Like [`setup`], but clients need a certificate of the same authority.
fn mutual(ca: &Authority) -> Setup {
    setup(ca).tls_ca(ca)
}

fn ca() -> Authority {
    Authority::new("Test CA")
}

/// Returns the number of TCP connections to the daemon's address, accepted or not.
fn established(daemon: &Daemon) -> usize {
    let port = format!(":{:04X}", daemon.addr().port());
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let rows = table.lines().skip(1).map(|row| row.split_whitespace().collect::<Vec<_>>());
    rows.filter(|row| row[1].ends_with(&port) && row[3] == "01").count()
}

/// Returns the number of handshakes with this result.
async fn handshakes(daemon: &Daemon, result: &str) -> u64 {
    let page = daemon.unix_client().get("/metrics").send().await;
    let name = format!("capstan_tls_handshakes_total{{result=\"{result}\"}} ");
    let line = page.text().lines().find_map(|line| line.strip_prefix(&name)).map(str::to_owned);
    line.unwrap_or_else(|| panic!("no {name} in {}", page.text())).parse().unwrap()
}

#[tokio::test]
async fn api_is_served_over_tls_1_2_and_1_3_with_http_1_and_2() {
    let ca = ca();
    let mut daemon = setup(&ca).start();
    daemon.unix_client().push("cat", guests::run::CAT).await;
    let body: Vec<u8> = (0..3_000_000_u32).map(|number| (number % 251) as u8).collect();
    for version in [&TLS12, &TLS13] {
        for http2 in [false, true] {
            let mut config = tls::config_of(&ca, None, &[version]);
            config.alpn_protocols = if http2 { vec![b"h2".to_vec()] } else { vec![b"http/1.1".to_vec()] };
            let call = daemon.tls_client(config).run("cat").body(body.clone());
            let reply = if http2 { call.http2() } else { call }.send().await;
            reply.assert_outcome("exited", 0);
            assert!(reply.body == body, "{version:?} {http2}: {} bytes of {}", reply.body.len(), body.len());
        }
    }
    // Without ALPN the connection uses HTTP/1.1.
    let client = daemon.tls_client(tls::config(&ca, None));
    assert_eq!(client.get("/_ping").send().await.text(), "OK\n");
    assert_eq!(handshakes(&daemon, "done").await, 5);
    assert!(daemon.is_alive());
}

#[tokio::test]
async fn client_without_a_common_protocol_gets_an_alert() {
    let ca = ca();
    let daemon = setup(&ca).start();
    let mut config = tls::config(&ca, None);
    config.alpn_protocols = vec![b"smtp".to_vec()];
    let stream = tokio::net::TcpStream::connect(daemon.addr()).await.unwrap();
    assert_eq!(tls::refusal(config, stream).await, rustls::AlertDescription::NoApplicationProtocol);
}

#[tokio::test]
async fn slow_reader_gets_the_complete_output() {
    let ca = ca();
    let daemon = setup(&ca).start();
    let client = daemon.tls_client(tls::config(&ca, None));
    daemon.unix_client().push("cat", guests::run::CAT).await;
    let (call, feed) = client.run("cat").framed().streaming_body();
    let mut exchange = call.open().await;
    // More than fits into all buffers, so that the daemon blocks in the middle of a record.
    let pieces = 400;
    let feeding = tokio::spawn(async move {
        for piece in 0..pieces {
            assert!(feed.send_patiently(vec![u8::try_from(piece % 256).unwrap(); 64 << 10]).await);
        }
    });
    let first = exchange.piece().await.unwrap();
    let rest = exchange.finish().await;
    feeding.await.unwrap();
    let read = frames::demultiplex(&[first.as_ref(), rest.body.as_ref()].concat());
    assert_eq!(read.stdout.len(), pieces << 16);
    let mut pieces = read.stdout.chunks(64 << 10).zip((0..=u8::MAX).cycle());
    assert!(pieces.all(|(piece, number)| piece.iter().all(|byte| *byte == number)));
}

#[tokio::test]
async fn end_of_stdin_differs_from_a_disconnect() {
    let ca = ca();
    let daemon = setup(&ca).start();
    let unix = daemon.unix_client();
    unix.push("cat", guests::run::CAT).await;
    let address = Address::Tls(daemon.addr(), tls::config(&ca, None).into());
    let id = submit(&unix, &serde_json::json!({"handler": "cat", "stdin_later": true})).await;
    let mut raw = Raw::try_connect(&address).await.unwrap();
    let head = format!(
        "POST /v1/jobs/{id}/attach?logs=1 HTTP/1.1\r\nHost: {{host}}\r\nConnection: Upgrade\r\nUpgrade: capstan.stream\r\n\r\nearly "
    );
    raw.write(&head).await;
    assert_eq!(raw.status().await, 101);
    raw.write("late").await;
    raw.half_close().await;
    let read = frames::demultiplex(&raw.read_to_end().await);
    assert_eq!(String::from_utf8_lossy(&read.stdout), "early late");

    // A client that disconnects cancels its run.
    let (call, feed) = daemon.tls_client(tls::config(&ca, None)).run("cat").framed().streaming_body();
    let exchange = call.open().await;
    assert!(feed.send("x").await);
    eventually("the run to start", async || (unix.running().await == 1).then_some(())).await;
    drop(exchange);
    eventually("the run to be cancelled", async || (unix.running().await == 0).then_some(())).await;
}

#[tokio::test]
async fn client_is_identified_by_its_certificate() {
    let ca = ca();
    let daemon = mutual(&ca).env("CAPSTAN_LOG", "capstan=debug").start();
    let client = daemon.tls_client(tls::config(&ca, Some(&ca.client("ann"))));
    assert_eq!(client.get("/_ping").send().await.status, 200);
    let uid = format!("caller=uid {}, gid", rustix::process::getuid().as_raw());
    assert_eq!(daemon.unix_client().get("/_ping").send().await.status, 200);
    daemon.until_logged(&["caller=spiffe://test/ann (sha256:", &uid]).await;
}

#[tokio::test]
async fn only_hosts_named_in_the_certificate_are_served() {
    let ca = ca();
    let own = ca.issue(tls::SERVER, |params| {
        params.subject_alt_names.push(rcgen::SanType::DnsName("*.build.test".try_into().unwrap()));
    });
    let daemon = Setup::new(CAPSTAN).tls(&own).start();
    let client = daemon.tls_client(tls::config(&ca, None));
    for (host, status) in [("one.build.test:1", 200), ("localhost", 200), ("build.test", 403), ("evil.test", 403)] {
        assert_eq!(client.get("/_ping").header("host", host).send().await.status, status, "{host}");
    }
}

#[tokio::test]
async fn tls_beyond_loopback_requires_client_certificates() {
    let ca = ca();
    let anywhere = ["tcp://0.0.0.0:0"];
    let refused = setup(&ca).hosts(anywhere).start_must_fail();
    assert_eq!(refused.status.code(), Some(125), "{refused:?}");
    assert!(refused.stderr.contains("--tls-ca") && refused.stderr.contains("--insecure-tcp"), "{refused:?}");
    assert!(setup(&ca).hosts(anywhere).arg("--insecure-tcp").start().is_alive());

    let passed = || std::net::TcpListener::bind("0.0.0.0:0").unwrap();
    let refused = setup(&ca).hosts(["fd://it"]).pass("it", passed()).start_must_fail();
    assert_eq!(refused.status.code(), Some(125), "{refused:?}");

    let own = tls::config(&ca, Some(&ca.client("ann")));
    for setup in [mutual(&ca).hosts(anywhere), mutual(&ca).hosts(["fd://it"]).pass("it", passed())] {
        let daemon = setup.start();
        let address = (std::net::Ipv4Addr::LOCALHOST, daemon.addr().port()).into();
        let client = |config| Client::new(Address::Tls(address, std::sync::Arc::new(config)));
        assert_eq!(client(own.clone()).get("/_ping").send().await.status, 200);
        assert!(client(tls::config(&ca, None)).get("/_ping").try_open().await.is_err());
    }
}

#[tokio::test]
async fn unix_socket_does_not_use_tls() {
    let mut daemon = mutual(&ca()).start();
    let client = daemon.unix_client();
    assert_eq!(client.get("/_ping").send().await.status, 200);
    assert!(daemon.is_alive());
}

/// Returns the certificate that the daemon presents.
async fn presented_certificate(daemon: &Daemon, ca: &Authority) -> Vec<u8> {
    let stream = tokio::net::TcpStream::connect(daemon.addr()).await.unwrap();
    let stream = tls::connect(tls::config(ca, None), stream).await.unwrap();
    stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

#[tokio::test]
async fn reload_under_load_loses_no_request_and_uses_the_new_certificate() {
    let ca = ca();
    let daemon = setup(&ca).start();
    let folder = daemon.setup().folder().to_owned();
    daemon.unix_client().push("hello", guests::run::HELLO).await;
    let before = presented_certificate(&daemon, &ca).await;
    // Half of the clients keep their connection. The others open one for each request.
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let load = |keep_alive: bool| {
        let (config, address, stopped) = (tls::config(&ca, None), daemon.addr(), stopped.clone());
        tokio::spawn(async move {
            let mut answers = 0;
            let address = Address::Tls(address, config.into());
            let request = "POST /v1/handlers/hello/run HTTP/1.1\r\nHost: {host}\r\n\r\n";
            let mut kept = Raw::try_connect(&address).await.unwrap();
            while !*stopped.borrow() {
                if !keep_alive {
                    kept = Raw::try_connect(&address).await.unwrap();
                }
                kept.write(request).await;
                kept.read_until("hello\n").await;
                answers += 1;
            }
            answers
        })
    };
    let clients: Vec<_> = (0..8).map(|number| load(number % 2 == 0)).collect();
    for round in 1..=5 {
        let old = presented_certificate(&daemon, &ca).await;
        ca.server().write(&folder, "own");
        daemon.signal(Signal::HUP);
        eventually(format!("certificate {round}"), async || {
            (presented_certificate(&daemon, &ca).await != old).then_some(())
        })
        .await;
        // Each certificate is used for a while.
        let done = handshakes(&daemon, "done").await;
        eventually("more requests", async || (handshakes(&daemon, "done").await > done + 50).then_some(())).await;
    }
    stop.send(true).unwrap();
    let mut answers = Vec::new();
    for client in clients {
        answers.push(client.await.expect("no client lost a request"));
    }
    assert_ne!(presented_certificate(&daemon, &ca).await, before);
    assert!(answers.iter().sum::<u64>() >= 250 && answers.iter().all(|count| *count > 0), "{answers:?}");
    eprintln!("{answers:?} requests answered over five reloads");
}

#[tokio::test]
async fn reload_with_invalid_files_keeps_the_old_ones() {
    let ca = ca();
    let daemon = mutual(&ca).start();
    let folder = daemon.setup().folder().to_owned();
    let ann = tls::config(&ca, Some(&ca.client("ann")));
    let client = daemon.tls_client(ann);
    let before = presented_certificate(&daemon, &ca).await;
    let other = ca.server();
    for (name, text, reported) in [
        ("own.key", other.key.as_str(), "is not that of the certificate"),
        ("own.key", "", "no private key"),
        ("ca.pem", "", "no certificate"),
    ] {
        let was = std::fs::read_to_string(folder.join(name)).unwrap();
        tls::write(&folder, name, text);
        daemon.signal(Signal::HUP);
        daemon.until_logged(&[reported, "what was there before stays"]).await;
        assert_eq!(client.get("/_ping").send().await.status, 200, "{reported}");
        tls::write(&folder, name, &was);
    }
    assert_eq!(presented_certificate(&daemon, &ca).await, before);
    // With another authority, existing connections stay open, but their clients can no longer connect.
    let (second, address) = (Authority::new("Second CA"), client.address());
    let mut kept = Raw::try_connect(address).await.unwrap();
    let ping = "GET /_ping HTTP/1.1\r\nHost: {host}\r\n\r\n";
    kept.write(ping).await;
    kept.read_until("OK").await;
    tls::write(&folder, "ca.pem", second.pem());
    daemon.signal(Signal::HUP);
    eventually("ann to be rejected", async || client.get("/_ping").try_open().await.is_err().then_some(())).await;
    kept.write(ping).await;
    kept.read_until("OK").await;
    let bob = daemon.tls_client(tls::config(&ca, Some(&second.client("bob"))));
    assert_eq!(bob.get("/_ping").send().await.status, 200);
}

#[tokio::test]
async fn sighup_without_tls_does_not_stop_the_daemon() {
    let mut daemon = Daemon::start(CAPSTAN);
    daemon.signal(Signal::HUP);
    daemon.until_logged(&["SIGHUP: reloading"]).await;
    oracle::still_answers(&mut daemon).await;
}

#[tokio::test]
async fn failed_startup_is_reported_to_waiting_tls_clients() {
    let ca = ca();
    for policy in ["hold", "answer"] {
        let held = BlockedStart::at("keys", "artifacts", policy, |setup| {
            std::fs::write(setup.folder().join("data/artifacts"), "").unwrap();
            setup.tls(&ca.server())
        });
        let address = Address::Tls(held.daemon.addr(), tls::config(&ca, None).into());
        let waiting = tokio::spawn(async move {
            let mut raw = Raw::try_connect(&address).await.unwrap();
            raw.write("GET /info HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").await;
            raw.read_to_end().await
        });
        // The connection is accepted by the daemon, or waits in the kernel until the gate fails.
        eventually("a connection", async || (established(&held.daemon) >= 1).then_some(())).await;
        held.unblock();
        let reported = String::from_utf8(waiting.await.unwrap()).unwrap();
        assert!(reported.starts_with("HTTP/1.1 503 ") && reported.contains("artifacts"), "{policy}: {reported}");
    }
}

#[tokio::test]
async fn tls_files_can_be_set_in_the_configuration() {
    let ca = ca();
    let setup = Setup::new(CAPSTAN);
    let [cert, key] = ca.server().write(setup.folder(), "own");
    let toml = format!("[tls]\ncert = {cert:?}\nkey = {key:?}\n");
    let daemon = setup.config(&toml).start();
    let client = daemon.tls_client(tls::config(&ca, None));
    assert_eq!(client.get("/_ping").send().await.status, 200);
    daemon.until_logged(&["TCP connections use TLS"]).await;
}
