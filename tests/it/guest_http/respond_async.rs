//! Requests that become durable jobs.

use capstan_tests::{Raw, Reply, guests};

use crate::jobs::api::{output_of, wait_for_end};
use crate::serving;

#[tokio::test]
async fn request_becomes_a_durable_job_that_survives_a_crash() {
    let (daemon, client) = serving("cgi", &guests::compiled("cgi.p1")).await;
    let call = client.post("/x/cgi/echo?a=b").header("prefer", "wait=5, respond-async").body("later");
    let reply = call.send().await;
    let id = accepted(&reply);
    let job = wait_for_end(&client, &id).await;
    assert_eq!((&job["handler"], &job["durable"]), (&"cgi".into(), &true.into()), "{job}");
    assert_eq!(output_of(&client, &id).await, "Content-Type: application/octet-stream\n\nlater");
    let (_daemon, client) = daemon.kill_and_restart().await;
    assert_eq!(wait_for_end(&client, &id).await, job);
}

#[tokio::test]
async fn job_gets_the_variables_of_its_request() {
    let (_daemon, client) = serving("cgi", &guests::compiled("cgi.p1")).await;
    let (call, feed) = client.post("/x/cgi/env/later?a=b").header("prefer", "respond-async").streaming_body();
    let sending = async {
        feed.send("123").await;
        feed.send("45").await;
        drop(feed);
    };
    let (reply, ()) = tokio::join!(call.send(), sending);
    let id = accepted(&reply);
    wait_for_end(&client, &id).await;
    let output = output_of(&client, &id).await;
    // The length is known now.
    for line in ["REQUEST_METHOD=POST", "PATH_INFO=/env/later", "QUERY_STRING=a=b", "CONTENT_LENGTH=5"] {
        assert!(output.lines().any(|printed| printed == line), "{line} in {output}");
    }
}

#[tokio::test]
async fn repeated_key_is_the_same_job() {
    let (_daemon, client) = serving("cgi", &guests::compiled("cgi.p1")).await;
    let call = |path: &str, body: &'static str| {
        client.post(path).header("prefer", "respond-async").header("idempotency-key", "k").body(body).send()
    };
    let id = accepted(&call("/x/cgi/echo", "a").await);
    let again = call("/x/cgi/echo", "a").await;
    assert_eq!((again.status, again.json()["id"].as_str()), (200, Some(id.as_str())), "{again:?}");
    call("/x/cgi/echo", "b").await.error(422, "key_reused");
    call("/x/cgi/echo/other", "a").await.error(422, "key_reused");
}

#[tokio::test]
async fn requests_that_cannot_wait_are_refused() {
    let (daemon, client) = serving("web", &guests::compiled("web")).await;
    let later = |path: &str| client.post(path).header("prefer", "respond-async");
    let message = later("/x/web/").send().await.error(501, "async_unsupported");
    assert!(message.contains("wasi:http"), "{message}");
    later("/x/version/").send().await.error(403, "builtin");
    later("/x/unknown/").send().await.error(404, "unknown_handler");
    client.push("cgi", guests::compiled("cgi.p1")).await;
    later("/x/cgi/%00").send().await.error(400, "bad_request");
    let mut raw = Raw::connect(&daemon).await;
    raw.write("POST /x/cgi/ HTTP/1.1\r\nHost: {host}\r\nPrefer: respond-async\r\nContent-Length: 99999999999\r\n\r\n")
        .await;
    assert_eq!(raw.status().await, 413);
}

/// Returns the id of the job in a response.
fn accepted(reply: &Reply) -> String {
    assert_eq!((reply.status, reply.header("preference-applied")), (202, Some("respond-async")), "{reply:?}");
    let id = reply.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(reply.header("location"), Some(format!("/v1/jobs/{id}").as_str()), "{reply:?}");
    assert_eq!(reply.header("capstan-job"), Some(id.as_str()), "{reply:?}");
    id
}
