//! Requests over TLS: HTTP/2 and HTTP/1.1, and certificates.

use capstan_tests::tls::{self, Authority};
use capstan_tests::{Cli, Client, Daemon, Setup, guests};

use super::upstream::Upstream;
use super::{fetch, http_policy, stdout};
use crate::CAPSTAN;

async fn trusting(ca: &Authority, base: &str) -> (Daemon, Client) {
    let setup = Setup::new(CAPSTAN);
    let path = tls::write(setup.folder(), "upstream-ca.pem", ca.pem());
    let daemon = setup.config(&format!("[policy]\nhttp = [\"{base}\"]\n[outbound]\ntls_ca = {path:?}\n")).start();
    let client = daemon.client();
    client.push("fetch", guests::compiled("fetch.p2")).await;
    (daemon, client)
}

#[tokio::test]
async fn protocol_is_the_one_that_the_server_chooses() {
    let ca = Authority::new("upstream");
    for (protocols, version) in [(&["h2", "http/1.1"][..], "HTTP/2.0"), (&["http/1.1"], "HTTP/1.1"), (&[], "HTTP/1.1")]
    {
        let upstream = Upstream::https(&ca.server(), protocols).await;
        let base = format!("https://{}", upstream.address);
        let (_daemon, client) = trusting(&ca, &base).await;
        let policy = http_policy(base.as_str());
        let framed = fetch(&client, &policy, &["GET", &format!("{base}/count"), "-n", "3"]).await;
        assert_eq!(stdout(&framed), "200\n0\n".repeat(3), "{}", framed.last);
        assert!(upstream.requests().iter().all(|request| request.starts_with(version)), "{:?}", upstream.requests());
        assert_eq!(upstream.connections(), 1);
        let framed = fetch(&client, &policy, &["POST", &format!("{base}/count"), "-B", "100000"]).await;
        assert_eq!(stdout(&framed), "200\n100000\n", "{}", framed.last);
        let framed = fetch(&client, &policy, &["GET", &format!("{base}/fields")]).await;
        assert!(stdout(&framed).starts_with("error: "), "{}", stdout(&framed));
    }
}

#[tokio::test]
async fn certificate_of_another_authority_is_an_error() {
    let (ca, other) = (Authority::new("upstream"), Authority::new("other"));
    let upstream = Upstream::https(&other.server(), &["h2"]).await;
    let base = format!("https://{}", upstream.address);
    let (_daemon, client) = trusting(&ca, &base).await;
    let framed = fetch(&client, &http_policy(base.as_str()), &["GET", &format!("{base}/hello")]).await;
    assert_eq!(stdout(&framed), "error: ErrorCode::TlsCertificateError\n");
    assert!(upstream.requests().is_empty());
}

#[tokio::test]
async fn command_in_process_trusts_the_certificates_of_the_machine() {
    let ca = Authority::new("upstream");
    let upstream = Upstream::https(&ca.server(), &["h2"]).await;
    let base = format!("https://{}", upstream.address);
    let cli = Cli::new(CAPSTAN).file("fetch.wasm", &guests::compiled("fetch.p2")).file("ca.pem", ca.pem().as_bytes());
    let roots = cli.folder().join("ca.pem").display().to_string();
    let url = format!("{base}/hello");
    let ran = cli.env("SSL_CERT_FILE", &roots).args(["run", "--http", &base, "fetch.wasm", "GET", &url]).run().await;
    assert_eq!(ran.stdout, b"200\nhello\n", "{ran:?}");
}
