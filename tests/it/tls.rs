//! TLS: what is served over it, who is let in, and what is read anew at SIGHUP.

mod command;
mod invalid_files;
mod rejected_clients;

use capstan_tests::tls::{self, Authority};
use capstan_tests::{Address, Client, Daemon, Raw, Setup, eventually, frames, guests};
use rustix::process::Signal;
use rustls::version::{TLS12, TLS13};

use crate::startup::gate::Held;
use crate::jobs::api::submit;
use crate::{CAPSTAN, oracle};

/// A daemon on TCP under a certificate of this authority, and a unix socket.
fn setup(ca: &Authority) -> Setup {
    Setup::new(CAPSTAN).tls(&ca.server())
}

/// The same, for clients with certificates of the same authority only.
fn mutual(ca: &Authority) -> Setup {
    setup(ca).tls_ca(ca)
}

fn ca() -> Authority {
    Authority::new("Test CA")
}

/// How many connections over TCP a daemon's address has, accepted or not.
fn established(daemon: &Daemon) -> usize {
    let port = format!(":{:04X}", daemon.addr().port());
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let rows = table.lines().skip(1).map(|row| row.split_whitespace().collect::<Vec<_>>());
    rows.filter(|row| row[1].ends_with(&port) && row[3] == "01").count()
}

/// How many handshakes have ended so.
async fn handshakes(daemon: &Daemon, result: &str) -> u64 {
    let page = daemon.unix_client().get("/metrics").send().await;
    let name = format!("capstan_tls_handshakes_total{{result=\"{result}\"}} ");
    let line = page.text().lines().find_map(|line| line.strip_prefix(&name)).map(str::to_owned);
    line.unwrap_or_else(|| panic!("no {name} in {}", page.text())).parse().unwrap()
}

#[tokio::test]
async fn the_api_is_served_over_both_versions_of_tls_and_of_http() {
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
            reply.ended("exited", 0);
            assert!(reply.body == body, "{version:?} {http2}: {} bytes of {}", reply.body.len(), body.len());
        }
    }
    // Who agrees on nothing speaks HTTP/1.1.
    let client = daemon.tls_client(tls::config(&ca, None));
    assert_eq!(client.get("/_ping").send().await.text(), "OK\n");
    assert_eq!(handshakes(&daemon, "done").await, 5);
    assert!(daemon.is_alive());
}

#[tokio::test]
async fn who_agrees_on_nothing_that_is_spoken_is_told() {
    let ca = ca();
    let daemon = setup(&ca).start();
    let mut config = tls::config(&ca, None);
    config.alpn_protocols = vec![b"smtp".to_vec()];
    let stream = tokio::net::TcpStream::connect(daemon.addr()).await.unwrap();
    assert_eq!(tls::refusal(config, stream).await, rustls::AlertDescription::NoApplicationProtocol);
}

#[tokio::test]
async fn a_slow_reader_holds_back_its_run_and_reads_all() {
    let ca = ca();
    let daemon = setup(&ca).start();
    let client = daemon.tls_client(tls::config(&ca, None));
    daemon.unix_client().push("cat", guests::run::CAT).await;
    let (call, feed) = client.run("cat").framed().fed();
    let mut exchange = call.open().await;
    // More than any buffer on the way has room for, so that the daemon waits in the middle of a record.
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
async fn the_end_of_stdin_and_the_end_of_a_client_are_told_apart() {
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

    // A client that leaves in the middle takes its run with it.
    let (call, feed) = daemon.tls_client(tls::config(&ca, None)).run("cat").framed().fed();
    let exchange = call.open().await;
    assert!(feed.send("x").await);
    eventually("the run to go on", async || (unix.running().await == 1).then_some(())).await;
    drop(exchange);
    eventually("the run to be cancelled", async || (unix.running().await == 0).then_some(())).await;
}

#[tokio::test]
async fn who_is_let_in_is_known_by_the_certificate() {
    let ca = ca();
    let daemon = mutual(&ca).env("CAPSTAN_LOG", "capstan=debug").start();
    let client = daemon.tls_client(tls::config(&ca, Some(&ca.client("ann"))));
    assert_eq!(client.get("/_ping").send().await.status, 200);
    let uid = format!("caller=uid {}, gid", rustix::process::getuid().as_raw());
    assert_eq!(daemon.unix_client().get("/_ping").send().await.status, 200);
    daemon.until_logged(&["caller=spiffe://test/ann (sha256:", &uid]).await;
}

#[tokio::test]
async fn names_of_the_certificate_are_names_of_the_daemon_and_no_others() {
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
async fn beyond_loopback_everyone_must_prove_who_they_are_on_passed_sockets_too() {
    let ca = ca();
    let anywhere = ["tcp://0.0.0.0:0"];
    let refused = setup(&ca).hosts(anywhere).refused();
    assert_eq!(refused.status.code(), Some(125), "{refused:?}");
    assert!(refused.stderr.contains("--tls-ca") && refused.stderr.contains("--insecure-tcp"), "{refused:?}");
    assert!(setup(&ca).hosts(anywhere).arg("--insecure-tcp").start().is_alive());

    let passed = || std::net::TcpListener::bind("0.0.0.0:0").unwrap();
    let refused = setup(&ca).hosts(["fd://it"]).pass("it", passed()).refused();
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
async fn a_unix_socket_never_speaks_tls() {
    let mut daemon = mutual(&ca()).start();
    let client = daemon.unix_client();
    assert_eq!(client.get("/_ping").send().await.status, 200);
    assert!(daemon.is_alive());
}

/// What the clients of a daemon see as its certificate.
async fn shown(daemon: &Daemon, ca: &Authority) -> Vec<u8> {
    let stream = tokio::net::TcpStream::connect(daemon.addr()).await.unwrap();
    let stream = tls::connect(tls::config(ca, None), stream).await.unwrap();
    stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

#[tokio::test]
async fn a_reload_under_load_loses_no_request_and_shows_the_new_certificate() {
    let ca = ca();
    let daemon = setup(&ca).start();
    let folder = daemon.setup().folder().to_owned();
    daemon.unix_client().push("hello", guests::run::HELLO).await;
    let before = shown(&daemon, &ca).await;
    // Half of the clients keep their connection; the others make one for each request.
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
        let old = shown(&daemon, &ca).await;
        ca.server().write(&folder, "own");
        daemon.signal(Signal::HUP);
        eventually(format!("certificate {round}"), async || (shown(&daemon, &ca).await != old).then_some(())).await;
        // Each certificate serves for a while.
        let done = handshakes(&daemon, "done").await;
        eventually("more requests", async || (handshakes(&daemon, "done").await > done + 50).then_some(())).await;
    }
    stop.send(true).unwrap();
    let mut answers = Vec::new();
    for client in clients {
        answers.push(client.await.expect("no client lost a request"));
    }
    assert_ne!(shown(&daemon, &ca).await, before);
    assert!(answers.iter().sum::<u64>() >= 250 && answers.iter().all(|count| *count > 0), "{answers:?}");
    eprintln!("{answers:?} requests answered over five reloads");
}

#[tokio::test]
async fn what_cannot_be_used_is_not_taken_at_a_reload() {
    let ca = ca();
    let daemon = mutual(&ca).start();
    let folder = daemon.setup().folder().to_owned();
    let ann = tls::config(&ca, Some(&ca.client("ann")));
    let client = daemon.tls_client(ann);
    let before = shown(&daemon, &ca).await;
    let other = ca.server();
    for (name, text, told) in [
        ("own.key", other.key.as_str(), "is not that of the certificate"),
        ("own.key", "", "no private key"),
        ("ca.pem", "", "no certificate"),
    ] {
        let was = std::fs::read_to_string(folder.join(name)).unwrap();
        tls::write(&folder, name, text);
        daemon.signal(Signal::HUP);
        daemon.until_logged(&[told, "what was there before stays"]).await;
        assert_eq!(client.get("/_ping").send().await.status, 200, "{told}");
        tls::write(&folder, name, &was);
    }
    assert_eq!(shown(&daemon, &ca).await, before);
    // Another authority: who was let in is not any more, but stays where they are.
    let (second, address) = (Authority::new("Second CA"), client.address());
    let mut kept = Raw::try_connect(address).await.unwrap();
    let ping = "GET /_ping HTTP/1.1\r\nHost: {host}\r\n\r\n";
    kept.write(ping).await;
    kept.read_until("OK").await;
    tls::write(&folder, "ca.pem", second.pem());
    daemon.signal(Signal::HUP);
    eventually("ann to be refused", async || client.get("/_ping").try_open().await.is_err().then_some(())).await;
    kept.write(ping).await;
    kept.read_until("OK").await;
    let bob = daemon.tls_client(tls::config(&ca, Some(&second.client("bob"))));
    assert_eq!(bob.get("/_ping").send().await.status, 200);
}

#[tokio::test]
async fn a_hangup_without_tls_reloads_nothing_and_ends_nothing() {
    let mut daemon = Daemon::start(CAPSTAN);
    daemon.signal(Signal::HUP);
    daemon.until_logged(&["SIGHUP: reloading"]).await;
    oracle::still_answers(&mut daemon).await;
}

#[tokio::test]
async fn who_was_held_by_a_start_that_fails_is_told_over_tls() {
    let ca = ca();
    for policy in ["hold", "answer"] {
        let held = Held::at("keys", "artifacts", policy, |setup| {
            std::fs::write(setup.folder().join("data/artifacts"), "").unwrap();
            setup.tls(&ca.server())
        });
        let address = Address::Tls(held.daemon.addr(), tls::config(&ca, None).into());
        let waiting = tokio::spawn(async move {
            let mut raw = Raw::try_connect(&address).await.unwrap();
            raw.write("GET /info HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").await;
            raw.read_to_end().await
        });
        // It is with the daemon, or with the kernel until the gate fails.
        eventually("a connection", async || (established(&held.daemon) >= 1).then_some(())).await;
        held.let_go();
        let told = String::from_utf8(waiting.await.unwrap()).unwrap();
        assert!(told.starts_with("HTTP/1.1 503 ") && told.contains("artifacts"), "{policy}: {told}");
    }
}

#[tokio::test]
async fn the_files_may_be_named_in_the_configuration() {
    let ca = ca();
    let setup = Setup::new(CAPSTAN);
    let [cert, key] = ca.server().write(setup.folder(), "own");
    let toml = format!("[tls]\ncert = {cert:?}\nkey = {key:?}\n");
    let daemon = setup.config(&toml).start();
    let client = daemon.tls_client(tls::config(&ca, None));
    assert_eq!(client.get("/_ping").send().await.status, 200);
    daemon.until_logged(&["over TLS"]).await;
}
