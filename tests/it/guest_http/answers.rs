//! What a handler gets and what its client gets.

use capstan_tests::tls::{self, Authority};
use capstan_tests::{Client, Raw, Setup, eventually, guests};

use super::web;
use crate::CAPSTAN;

#[tokio::test]
async fn guest_gets_method_path_and_fields_of_request() {
    let (_daemon, client) = web().await;
    for (method, shown) in [
        ("GET", "Get"),
        ("POST", "Post"),
        ("PUT", "Put"),
        ("DELETE", "Delete"),
        ("OPTIONS", "Options"),
        ("PURGE", "PURGE"),
    ] {
        for http2 in [false, true] {
            let call = client.call(method, "/x/web/head/a%20b//c/../%2e?q=%2F&d&q=%C3%BC");
            let call = call.header("x-a", "1").header("x-a", "2").header("te", "trailers");
            let reply = if http2 { call.http2() } else { call }.send().await;
            assert_eq!(reply.status, 200, "{reply:?}");
            let text = reply.text();
            let (first, fields) = text.split_once('\n').unwrap();
            assert!(first.contains(shown), "{first}");
            assert!(first.ends_with(" /head/a%20b//c/../%2e?q=%2F&d&q=%C3%BC"), "{first}");
            let values: Vec<_> = fields.lines().filter(|line| line.starts_with("x-a: ")).collect();
            assert_eq!(values, ["x-a: 1", "x-a: 2"], "{text}");
            assert!(!fields.lines().any(|line| line.starts_with("te:") || line.starts_with("host:")), "{text}");
        }
    }
}

#[tokio::test]
async fn path_without_rest_is_the_root() {
    let (_daemon, client) = web().await;
    for path in ["/x/web", "/x/web/", "/x/web?a=b"] {
        let reply = client.get(path).send().await;
        assert_eq!((reply.status, reply.text()), (404, "no such path\n"), "{path}");
    }
}

#[tokio::test]
async fn client_gets_every_final_status_that_guest_sets() {
    let (_daemon, client) = web().await;
    for status in [200, 201, 204, 206, 301, 304, 400, 404, 418, 500, 503, 599] {
        let reply = client.get(&format!("/x/web/status/{status}")).send().await;
        assert_eq!((reply.status, &reply.body[..]), (status, &b""[..]), "{reply:?}");
    }
}

#[tokio::test]
async fn client_gets_repeated_binary_and_empty_fields() {
    let (_daemon, client) = web().await;
    let reply = client.get("/x/web/fields").send().await;
    let values =
        |name: &str| reply.headers.get_all(name).iter().map(|value| value.as_bytes().to_vec()).collect::<Vec<_>>();
    assert_eq!(values("x-repeated"), [b"a", b"b"]);
    assert_eq!(values("x-binary"), [b"\x80\xff"]);
    assert_eq!(values("x-empty"), [b""]);
}

#[tokio::test]
async fn guest_cannot_set_fields_of_the_connection_or_invalid_ones() {
    let (_daemon, client) = web().await;
    let reply = client.get("/x/web/refused").send().await;
    let text = reply.text();
    for name in [
        "connection",
        "keep-alive",
        "transfer-encoding",
        "upgrade",
        "host",
        "proxy-connection",
        "bad name",
        "x-bad-value",
    ] {
        assert!(text.lines().any(|line| line.starts_with(&format!("{name}: "))), "{name} is accepted: {text}");
    }
    assert!(!text.contains("x-good"), "{text}");
}

#[tokio::test]
async fn bodies_are_echoed_on_every_listener_and_in_both_versions() {
    let ca = Authority::new("Test CA");
    let daemon = Setup::new(CAPSTAN).tls(&ca.server()).start();
    let clients = [daemon.tls_client(tls::config(&ca, None)), daemon.unix_client()];
    clients[0].push("web", guests::compiled("web")).await;
    let large: Vec<u8> = (0..300_000_u32).map(|i| i.to_le_bytes()[0]).collect();
    // Over TLS, the version is negotiated and not known before.
    for (client, versions) in clients.into_iter().zip([&[false][..], &[false, true]]) {
        for body in [&b""[..], b"x", &large] {
            for &http2 in versions {
                let call = client.post("/x/web/echo").body(body.to_vec());
                let reply = if http2 { call.http2() } else { call }.send().await;
                assert_eq!(reply.status, 200);
                assert!(reply.body == body, "{} bytes became {}", body.len(), reply.body.len());
            }
        }
    }
}

#[tokio::test]
async fn guest_learns_scheme_of_listener() {
    let ca = Authority::new("Test CA");
    let daemon = Setup::new(CAPSTAN).tls(&ca.server()).start();
    let client = daemon.tls_client(tls::config(&ca, None));
    client.push("web", guests::compiled("web")).await;
    let first_line =
        async |client: Client| client.get("/x/web/head").send().await.text().lines().next().unwrap().to_owned();
    let (tls, unix) = (first_line(client).await, first_line(daemon.unix_client()).await);
    assert!(tls.contains("Https") && !unix.contains("Https"), "{tls}, {unix}");
}

#[tokio::test]
async fn body_of_100_mib_streams_through_a_guest_within_its_memory_limit() {
    const PIECE: usize = 1 << 20;
    let (_daemon, client) = web().await;
    let (call, feed) = client.post("/x/web/echo").streaming_body();
    let sending = tokio::spawn(async move {
        let piece = bytes::Bytes::from(vec![b'x'; PIECE]);
        for _ in 0..100 {
            assert!(feed.send(piece.clone()).await);
        }
    });
    let mut response = call.open().await;
    let id = response.header("capstan-job").unwrap().to_owned();
    let mut length = 0;
    while let Some(piece) = response.piece().await {
        length += piece.len();
    }
    sending.await.unwrap();
    assert_eq!(length, 100 * PIECE);
    let job = eventually("the job to end", async || {
        Some(client.get(&format!("/jobs/{id}")).send().await.json()).filter(|job| !job["outcome"].is_null())
    })
    .await;
    let usage = &job["usage"];
    assert_eq!((&usage["stdin_bytes"], &usage["stdout_bytes"]), (&length.into(), &length.into()), "{job}");
    assert!(usage["memory_peak"].as_u64().unwrap() < 16 << 20, "{usage}");
}

#[tokio::test]
async fn response_starts_before_the_request_ends() {
    let (_daemon, client) = web().await;
    for http2 in [false, true] {
        let (call, feed) = client.post("/x/web/echo").streaming_body();
        let mut response = if http2 { call.http2() } else { call }.open().await;
        for piece in ["first", "second"] {
            assert!(feed.send(piece).await);
            assert_eq!(response.read_at_least(piece.len()).await, piece);
        }
        drop(feed);
        assert!(!response.finish().await.cut);
    }
}

#[tokio::test]
async fn trailers_go_both_ways() {
    let (daemon, client) = web().await;
    for http2 in [false, true] {
        let call = client.get("/x/web/trailers").header("te", "trailers");
        let reply = if http2 { call.http2() } else { call }.send().await;
        assert_eq!((reply.text(), reply.trailer("x-sum")), ("body", Some("4")), "{reply:?}");
    }
    let reply = client.get("/x/web/trailers").send().await;
    assert_eq!((reply.text(), reply.trailer("x-sum")), ("body", None), "{reply:?}");

    let mut raw = Raw::connect(&daemon).await;
    raw.write(
        "POST /x/web/echo HTTP/1.1\r\nHost: {host}\r\nTE: trailers\r\nConnection: TE, close\r\nTrailer: x-sent\r\n\
         Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nx-sent: yes\r\n\r\n",
    )
    .await;
    let response = String::from_utf8(raw.read_to_end().await).unwrap();
    assert!(response.ends_with("0\r\nx-sent: yes\r\n\r\n"), "{response}");
}

#[tokio::test]
async fn head_has_fields_and_no_body() {
    let (_daemon, client) = web().await;
    for path in ["/x/web/hello", "/x/web/fields"] {
        let reply = client.call("HEAD", path).send().await;
        assert_eq!((reply.status, reply.body.len()), (200, 0), "{reply:?}");
    }
    assert_eq!(client.call("HEAD", "/x/web/fields").send().await.header("x-empty"), Some(""));
}

#[tokio::test]
async fn job_of_a_request_is_described_like_any() {
    let (_daemon, client) = web().await;
    let reply = client.post("/x/web/echo").body("12345").send().await;
    let id = reply.header("capstan-job").unwrap();
    let job = client.get(&format!("/jobs/{id}")).send().await.json();
    assert_eq!(
        (&job["handler"], &job["outcome"]["kind"], &job["outcome"]["code"]),
        (&"web".into(), &"exited".into(), &0.into())
    );
    assert_eq!((&job["usage"]["stdin_bytes"], &job["usage"]["stdout_bytes"]), (&5.into(), &5.into()), "{job}");
    let jobs = client.get("/jobs?handler=web").send().await.json();
    assert!(jobs["jobs"].as_array().unwrap().iter().any(|job| job["id"] == id), "{jobs}");
}

#[tokio::test]
async fn prints_of_guest_do_not_reach_the_response() {
    let (_daemon, client) = web().await;
    let reply = client.get("/x/web/print").send().await;
    assert_eq!((reply.status, reply.text()), (200, "ok\n"));
    let job = client.get(&format!("/jobs/{}", reply.header("capstan-job").unwrap())).send().await.json();
    assert!(job["usage"]["stderr_bytes"].as_u64().unwrap() >= 20, "both outputs of the guest are its stderr: {job}");
}
