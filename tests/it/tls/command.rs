//! The command as a TLS client, and its error messages.

use capstan_tests::tls::{self, Authority, Leaf};
use capstan_tests::{Cli, Daemon, Finished, Setup, guests};
use rcgen::{SanType, date_time_ymd};

use super::{ca, mutual, setup};
use crate::CAPSTAN;

/// Returns the command with the TCP address of a daemon, this CA and this certificate.
fn cli(daemon: &Daemon, ca: Option<&Authority>, own: Option<&Leaf>) -> Cli {
    let mut cli = Cli::new(CAPSTAN).args(["-H".to_owned(), format!("tcp://127.0.0.1:{}", daemon.addr().port())]);
    if let Some(ca) = ca {
        cli = cli.file("ca.pem", ca.pem().as_bytes()).args(["--tls-ca", "ca.pem"]);
    }
    if let Some(own) = own {
        own.write(cli.folder(), "own");
        cli = cli.args(["--tls-cert", "own.pem", "--tls-key", "own.key"]);
    }
    cli
}

async fn info(cli: Cli) -> Finished {
    cli.args(["info"]).run().await
}

#[track_caller]
fn assert_reported(finished: &Finished, words: &[&str]) {
    assert_eq!(finished.code, Some(125), "{finished:?}");
    for word in words {
        assert!(finished.stderr.contains(word), "{word:?} is not in {finished:?}");
    }
}

#[tokio::test]
async fn command_uses_tls_flags_and_variables() {
    let ca = ca();
    let daemon = mutual(&ca).start();
    daemon.unix_client().push("cat", guests::run::CAT).await;
    let ann = ca.client("ann");
    let ran = cli(&daemon, Some(&ca), Some(&ann))
        .args(["run", "cat"])
        .stdin(vec![7; 1 << 20])
        .run()
        .await
        .assert_exit_code(0);
    assert_eq!(ran.stdout.len(), 1 << 20);

    let cli = Cli::new(CAPSTAN).file("ca.pem", ca.pem().as_bytes());
    ann.write(cli.folder(), "own");
    let host = format!("tcp://localhost:{}", daemon.addr().port());
    let after = ["info", "-H", &host, "--tls-ca", "ca.pem", "--tls-cert", "own.pem", "--tls-key", "own.key"];
    cli.args(after).run().await.assert_exit_code(0);

    let cli = Cli::new(CAPSTAN).file("ca.pem", ca.pem().as_bytes()).env("CAPSTAN_HOST", &host);
    ann.write(cli.folder(), "own");
    let cli = cli.env("CAPSTAN_TLS_CA", "ca.pem").env("CAPSTAN_TLS_CERT", "own.pem").env("CAPSTAN_TLS_KEY", "own.key");
    cli.args(["info"]).run().await.assert_exit_code(0);

    // An upgraded connection streams in both directions.
    let started = mutual_cli(&daemon, &ca, &ann).args(["run", "-d", "-i", "cat"]).run().await.assert_exit_code(0);
    let id = started.text().trim().to_owned();
    let attached =
        mutual_cli(&daemon, &ca, &ann).args(["attach", &id]).stdin("over TLS").run().await.assert_exit_code(0);
    assert_eq!(attached.text(), "over TLS");
}

fn mutual_cli(daemon: &Daemon, ca: &Authority, own: &Leaf) -> Cli {
    cli(daemon, Some(ca), Some(own))
}

#[tokio::test]
async fn command_reports_why_it_rejects_the_certificate() {
    let ca = ca();
    let daemon = setup(&ca).start();
    let other = Authority::new("Another CA");
    assert_reported(&info(cli(&daemon, Some(&other), None)).await, &["issued by none of those in --tls-ca"]);
    let elsewhere = ca.issue(tls::SERVER, |leaf| {
        leaf.subject_alt_names = vec![SanType::DnsName("elsewhere.test".try_into().unwrap())];
    });
    let daemon = Setup::new(CAPSTAN).tls(&elsewhere).start();
    let reported = info(cli(&daemon, Some(&ca), None)).await;
    assert_reported(&reported, &["elsewhere.test", "not for 127.0.0.1"]);
    let own = Leaf::self_signed(tls::SERVER);
    let daemon = Setup::new(CAPSTAN).tls(&own).start();
    assert_reported(&info(cli(&daemon, Some(&ca), None)).await, &["issued by none of those in --tls-ca"]);
}

/// Runs the command against a TLS server of the test, because a daemon refuses to start with such a certificate.
async fn run_against_server(leaf: &Leaf, ca: &Authority) -> Finished {
    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let chain = CertificateDer::pem_slice_iter(leaf.chain.as_bytes()).map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_slice(leaf.key.as_bytes()).unwrap();
    let config = config.with_no_client_auth().with_single_cert(chain, key).unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let serving = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        tokio_rustls::TlsAcceptor::from(std::sync::Arc::new(config)).accept(stream).await.map(drop)
    });
    let cli = Cli::new(CAPSTAN).file("ca.pem", ca.pem().as_bytes());
    let finished = cli.args(["-H", &format!("tcp://127.0.0.1:{port}"), "--tls-ca", "ca.pem", "info"]).run().await;
    assert!(serving.await.unwrap().is_err(), "{finished:?}");
    finished
}

#[tokio::test]
async fn command_reports_expired_and_unsuitable_certificates() {
    let ca = ca();
    let expired = ca.issue(tls::SERVER, |leaf| leaf.not_after = date_time_ymd(2020, 1, 1));
    assert_reported(&run_against_server(&expired, &ca).await, &["its certificate has expired"]);
    let future = ca.issue(tls::SERVER, |leaf| leaf.not_before = date_time_ymd(4000, 1, 1));
    assert_reported(&run_against_server(&future, &ca).await, &["not valid yet", "clock"]);
    assert_reported(&run_against_server(&ca.issue(tls::CLIENT, |_| {}), &ca).await, &["not one for servers"]);
}

#[tokio::test]
async fn command_reports_why_the_daemon_rejects_it() {
    let ca = ca();
    let daemon = mutual(&ca).start();
    assert_reported(&info(cli(&daemon, Some(&ca), None)).await, &["wants a client certificate", "--tls-cert"]);
    let rogue = Authority::new("Rogue CA").client("ann");
    assert_reported(&info(cli(&daemon, Some(&ca), Some(&rogue))).await, &["does not know who issued"]);
    // The command sends stdin while the daemon rejects it.
    let run = cli(&daemon, Some(&ca), None).args(["run", "cat"]).stdin(vec![0; 4 << 20]).run().await;
    assert_reported(&run, &["wants a client certificate"]);
}

#[tokio::test]
async fn command_reports_invalid_own_files_before_connecting() {
    let ca = ca();
    let daemon = mutual(&ca).start();
    let expired = ca.issue(tls::CLIENT, |leaf| leaf.not_after = date_time_ymd(2020, 1, 1));
    assert_reported(&info(cli(&daemon, Some(&ca), Some(&expired))).await, &["expired at 2020-01-01"]);
    let server = ca.server();
    assert_reported(&info(cli(&daemon, Some(&ca), Some(&server))).await, &["may not be used by a client"]);
    let half = cli(&daemon, Some(&ca), None).args(["--tls-cert", "ca.pem"]);
    assert_reported(&info(half).await, &["--tls-key"]);
    assert_reported(&info(cli(&daemon, None, Some(&ca.client("ann")))).await, &["--tls-ca", "CAPSTAN_TLS_CA"]);
    assert_reported(&info(cli(&daemon, None, None).args(["--tls-ca", "nowhere.pem"])).await, &["nowhere.pem"]);
}

#[tokio::test]
async fn command_reports_a_mismatch_of_tls_and_plain_ports() {
    let ca = ca();
    let plain = Daemon::start(CAPSTAN);
    assert_reported(&info(cli(&plain, Some(&ca), None)).await, &["does not speak TLS"]);
    let daemon = setup(&ca).start();
    assert_reported(&info(cli(&daemon, None, None)).await, &["speaks TLS", "--tls-ca"]);
}
