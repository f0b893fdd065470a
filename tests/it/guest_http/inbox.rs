//! Routes that take signed webhooks and turn each into a durable job.

use std::fs;

use capstan_tests::{Client, Daemon, Setup, guests};

use super::routes::start;
use crate::CAPSTAN;
use crate::handlers::try_push_with_manifest;
use crate::jobs::api::{output_of, wait_for_end};

/// The secret, the body and its signature are the example in the documentation of GitHub.
const SECRET: &str = "It's a Secret to Everybody";
const BODY: &str = "Hello, World!";
const SIGNATURE: &str = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";

const MANIFEST: &str = "[[route]]\npath = \"/env/{source}\"\nrespond_async = true\n\
                        signature = { scheme = \"github\", secret = \"hook\", max_body = \"1KiB\" }\n";

/// Starts a daemon whose handler `inbox` takes signed requests. The operator offers the secret to `handler`.
async fn inbox(handler: &str) -> (Daemon, Client, Client) {
    let setup = Setup::new(CAPSTAN);
    let file = setup.folder().join("hook");
    fs::write(&file, SECRET).unwrap();
    let configuration = format!("[secrets.hook]\nfile = {:?}\nhandlers = [{handler:?}]\n", file.display());
    let (daemon, api, routes) = start(setup.config(&configuration));
    let pushed = try_push_with_manifest(&api, "inbox", &guests::compiled("cgi.p1"), MANIFEST).await;
    assert_eq!(pushed.status, 201, "{pushed:?}");
    (daemon, api, routes)
}

#[tokio::test]
async fn signed_request_becomes_a_job_with_the_variables_of_its_route() {
    let (_daemon, api, routes) = inbox("inbox").await;
    let reply = routes.post("/env/github?a=b").header("x-hub-signature-256", SIGNATURE).body(BODY).send().await;
    assert_eq!((reply.status, reply.header("preference-applied")), (202, Some("respond-async")), "{reply:?}");
    let id = reply.json()["id"].as_str().unwrap().to_owned();
    wait_for_end(&api, &id).await;
    let output = output_of(&api, &id).await;
    for line in ["PATH_VAR_SOURCE=github", "PATH_INFO=/env/github", "QUERY_STRING=a=b", "CONTENT_LENGTH=13"] {
        assert!(output.lines().any(|printed| printed == line), "{line} in {output}");
    }
}

#[tokio::test]
async fn request_without_the_right_signature_makes_no_job() {
    let (_daemon, api, routes) = inbox("inbox").await;
    let signed = |body: &str| routes.post("/env/github").header("x-hub-signature-256", SIGNATURE).body(body.to_owned());
    routes.post("/env/github").body(BODY).send().await.error(401, "bad_signature");
    signed("Hello, World?").send().await.error(401, "bad_signature");
    signed(BODY).header("x-hub-signature-256", SIGNATURE).send().await.error(401, "bad_signature");
    signed(&"x".repeat(2000)).send().await.error(413, "too_large");
    let jobs = api.get("/jobs?handler=inbox").send().await.json();
    assert_eq!(jobs["jobs"].as_array().map(Vec::len), Some(0), "{jobs}");
}

#[tokio::test]
async fn secret_that_is_not_offered_to_the_handler_signs_nothing() {
    let (_daemon, _api, routes) = inbox("other").await;
    let signed = routes.post("/env/github").header("x-hub-signature-256", SIGNATURE).body(BODY);
    signed.send().await.error(500, "internal");
}
