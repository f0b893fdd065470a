//! CORS: pages of listed origins may call the API and the response headers say so. By default no origin is listed.

use capstan_tests::{Daemon, Reply, Setup, guests};

use crate::{CAPSTAN, serving};

const PAGE: &str = "https://app.example";

fn daemon_with_origin() -> Daemon {
    Setup::new(CAPSTAN).config(&format!("[http]\norigins = [\"{PAGE}\"]\nnames = [\"build.example\"]\n")).start()
}

/// Returns the CORS headers of a response.
fn cors(reply: &Reply) -> Vec<&str> {
    reply.headers.keys().map(|name| name.as_str()).filter(|name| name.starts_with("access-control-")).collect()
}

async fn preflight(daemon: &Daemon, origin: &str, path: &str) -> Reply {
    let call = daemon.client().call("OPTIONS", path).header("origin", origin);
    call.header("access-control-request-method", "PUT").header("access-control-request-headers", "x-evil").send().await
}

#[tokio::test]
async fn no_origin_is_allowed_by_default() {
    let (daemon, client) = serving("hello", guests::run::HELLO).await;
    for origin in [PAGE, "null", "http://localhost:3000"] {
        let reply = client.get("/v1/_ping").header("origin", origin).send().await;
        reply.error(403, "host_not_allowed");
        assert!(cors(&reply).is_empty(), "{reply:?}");
        let reply = preflight(&daemon, origin, "/v1/handlers/hello").await;
        reply.error(403, "host_not_allowed");
        assert!(cors(&reply).is_empty(), "{reply:?}");
    }
    let own = format!("http://{}", daemon.addr());
    let reply = preflight(&daemon, &own, "/v1/handlers/hello").await;
    assert_eq!((reply.status, cors(&reply).len()), (204, 0), "{reply:?}");
    assert_eq!(client.get("/v1/_ping").send().await.header("vary"), None);
}

#[tokio::test]
async fn listed_origin_is_allowed_by_its_exact_name() {
    let daemon = daemon_with_origin();
    let reply = preflight(&daemon, PAGE, "/v1/handlers/hello").await;
    assert_eq!(reply.status, 204, "{reply:?}");
    assert_eq!(reply.header("access-control-allow-origin"), Some(PAGE));
    assert_eq!(reply.header("access-control-allow-methods"), Some("GET, HEAD, PUT, DELETE, OPTIONS"));
    let headers = reply.header("access-control-allow-headers").unwrap();
    assert!(headers.contains("idempotency-key") && !headers.contains('*') && !headers.contains("x-evil"), "{headers}");
    assert_eq!(reply.header("access-control-allow-credentials"), None);
    assert_eq!(reply.header("vary"), Some("origin"));

    let client = daemon.client();
    client.push("hello", guests::run::HELLO).await;
    let reply = client.run("hello").header("origin", PAGE).send().await;
    reply.assert_outcome("exited", 0);
    assert_eq!(reply.header("access-control-allow-origin"), Some(PAGE));
    assert!(reply.header("access-control-expose-headers").unwrap().contains("capstan-outcome"));
    // The page must be able to read errors too.
    for path in ["/v1/nothing", "/v99/_ping", "/v1/handlers/nobody"] {
        let reply = client.get(path).header("origin", PAGE).send().await;
        assert!(reply.status >= 400);
        assert_eq!(reply.header("access-control-allow-origin"), Some(PAGE), "{path}");
    }
}

#[tokio::test]
async fn other_origins_get_no_cors_headers_and_responses_vary_by_origin() {
    let daemon = daemon_with_origin();
    for origin in ["http://app.example", "https://app.example:8443", "https://app.example.evil.example", "null"] {
        for reply in [
            daemon.client().get("/v1/_ping").header("origin", origin).send().await,
            preflight(&daemon, origin, "/v1/handlers/hello").await,
        ] {
            reply.error(403, "host_not_allowed");
            assert!(cors(&reply).is_empty(), "{origin}: {reply:?}");
            assert_eq!(reply.header("vary"), Some("origin"));
        }
    }
    let reply = daemon.client().get("/v1/_ping").send().await;
    assert_eq!((reply.status, cors(&reply).len(), reply.header("vary")), (200, 0, Some("origin")));
}

#[tokio::test]
async fn listed_host_name_is_served() {
    let daemon = daemon_with_origin();
    for (host, status) in [("build.example", 200), ("BUILD.example:7878", 200), ("evil.example", 403)] {
        let reply = daemon.client().get("/v1/_ping").header("host", host).send().await;
        assert_eq!(reply.status, status, "{host}");
    }
}

#[tokio::test]
async fn wildcard_origins_and_names_are_rejected_at_startup() {
    for line in ["origins = [\"*\"]", "origins = [\"https://*.example\"]", "origins = [\"null\"]", "names = [\"*\"]"] {
        let refused = Setup::new(CAPSTAN).config(&format!("[http]\n{line}\n")).start_must_fail();
        assert_eq!(refused.status.code(), Some(125), "{line}");
        assert!(refused.stderr.contains("no pattern"), "{line}: {}", refused.stderr);
    }
}
