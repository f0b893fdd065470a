//! The caller of a job: the kernel identifies it on a unix socket, its certificate with mutual TLS, and its address otherwise.

use capstan_tests::tls::{self, Authority};
use capstan_tests::{Client, Setup, guests};
use serde_json::{Value, json};

use crate::jobs::api::{submit, wait_for_end};
use crate::{CAPSTAN, serving};

async fn caller(client: &Client, id: &str) -> Value {
    client.get(&format!("/v1/jobs/{id}")).send().await.json()["caller"].clone()
}

#[tokio::test]
async fn caller_is_identified_by_process_or_address() {
    let (daemon, client) = serving("hello", guests::run::HELLO).await;
    let unix = daemon.unix_client();
    let me = json!({
        "kind": "process", "uid": rustix::process::getuid().as_raw(), "gid": rustix::process::getgid().as_raw(),
        "pid": std::process::id(),
    });
    let id = submit(&unix, &json!({"handler": "hello"})).await;
    wait_for_end(&unix, &id).await;
    assert_eq!(caller(&unix, &id).await, me);
    // A synchronous run has a caller too.
    let ran = unix.run("hello").send().await;
    assert_eq!(caller(&unix, ran.header("capstan-job").unwrap()).await, me);
    let id = submit(&client, &json!({"handler": "hello"})).await;
    let reported = caller(&client, &id).await;
    assert_eq!(reported["kind"], "anyone");
    assert!(reported["address"].as_str().unwrap().starts_with("127.0.0.1:"), "{reported}");
    daemon.until_logged(&["+job hello()", "caller=uid "]).await;
}

#[tokio::test]
async fn caller_with_a_certificate_is_identified_by_it() {
    let ca = Authority::new("Test CA");
    let daemon = Setup::new(CAPSTAN).tls(&ca.server()).tls_ca(&ca).start();
    daemon.unix_client().push("hello", guests::run::HELLO).await;
    let ann = daemon.tls_client(tls::config(&ca, Some(&ca.client("ann"))));
    let id = submit(&ann, &json!({"handler": "hello"})).await;
    let reported = caller(&ann, &id).await;
    assert_eq!(reported["kind"], "certificate");
    assert!(reported["subject"].as_str().unwrap().contains("ann"), "{reported}");
    assert_eq!(reported["fingerprint"].as_str().map(str::len), Some(64), "{reported}");
}

#[tokio::test]
async fn caller_in_a_request_body_is_rejected() {
    let (_daemon, client) = serving("hello", guests::run::HELLO).await;
    let job = json!({"handler": "hello", "caller": {"kind": "process", "uid": 0}});
    client.post("/v1/jobs").body(job.to_string()).send().await.error(400, "bad_request");
}
