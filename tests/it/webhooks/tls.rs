//! Webhooks over TLS: whose certificates are trusted.

use capstan_tests::Setup;
use capstan_tests::tls::{self, Authority};

use super::receiver::Receiver;
use super::{assert_tells_of, section, setup, submit_print, until_failed};
use crate::guests;

/// Starts a daemon that calls `receiver` over TLS, and returns its client.
async fn serving_tls(setup: Setup) -> (capstan_tests::Daemon, capstan_tests::Client) {
    let daemon = setup.start();
    let client = daemon.client();
    client.push("print", guests::run::PRINT_THEN_EXIT.to_vec()).await;
    (daemon, client)
}

fn https(receiver: &Receiver, more: &str) -> String {
    section(receiver.address, more).replace("http://", "https://")
}

#[tokio::test]
async fn receiver_is_trusted_by_the_named_ca_or_by_those_of_the_machine() {
    let ca = Authority::new("receivers");
    let folder = tempfile::tempdir().unwrap();
    let file = tls::write(folder.path(), "ca.pem", ca.pem());
    let mut receiver = Receiver::start_tls(&ca.server());
    let named = setup(&https(&receiver, &format!("tls_ca = \"{}\"", file.display())));
    let of_machine = setup(&https(&receiver, "")).env("SSL_CERT_FILE", &file);
    for setup in [named, of_machine] {
        let (_daemon, client) = serving_tls(setup).await;
        let job = submit_print(&client, "0").await;
        assert_tells_of(&receiver.next().await, &client, &job).await;
    }
}

#[tokio::test]
async fn receiver_that_is_not_trusted_learns_nothing() {
    let (ca, other) = (Authority::new("receivers"), Authority::new("others"));
    let folder = tempfile::tempdir().unwrap();
    let file = tls::write(folder.path(), "ca.pem", other.pem());
    let mut receiver = Receiver::start_tls(&ca.server());
    let toml = https(&receiver, &format!("tls_ca = \"{}\"", file.display()));
    let (_daemon, client) = serving_tls(setup(&toml)).await;
    submit_print(&client, "0").await;
    let failed = until_failed(&client, 1).await;
    let error = failed["attempts"][0]["error"].as_str().unwrap();
    assert!(error.starts_with(&format!("webhook audit: no TLS with {}: ", receiver.address)), "{error}");
    assert!(error.contains("UnknownIssuer"), "{error}");
    receiver.assert_no_more();
}
