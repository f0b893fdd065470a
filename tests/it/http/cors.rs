//! Web pages: those of origins that are listed may call, and a browser is told so; no others, and none by default.

use capstan_tests::{Daemon, Reply, Setup, guests};

use crate::{CAPSTAN, serving};

const PAGE: &str = "https://app.example";

fn listed() -> Daemon {
    Setup::new(CAPSTAN).config(&format!("[http]\norigins = [\"{PAGE}\"]\nnames = [\"build.example\"]\n")).start()
}

/// The headers of an answer that are for browsers.
fn cors(reply: &Reply) -> Vec<&str> {
    reply.headers.keys().map(|name| name.as_str()).filter(|name| name.starts_with("access-control-")).collect()
}

async fn preflight(daemon: &Daemon, origin: &str, path: &str) -> Reply {
    let call = daemon.client().call("OPTIONS", path).header("origin", origin);
    call.header("access-control-request-method", "PUT").header("access-control-request-headers", "x-evil").send().await
}

#[tokio::test]
async fn by_default_a_browser_is_told_of_no_page() {
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
async fn a_page_that_is_listed_is_answered_by_its_exact_origin() {
    let daemon = listed();
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
    reply.ended("exited", 0);
    assert_eq!(reply.header("access-control-allow-origin"), Some(PAGE));
    assert!(reply.header("access-control-expose-headers").unwrap().contains("capstan-outcome"));
    // Errors are for it to read as well.
    for path in ["/v1/nothing", "/v99/_ping", "/v1/handlers/nobody"] {
        let reply = client.get(path).header("origin", PAGE).send().await;
        assert!(reply.status >= 400);
        assert_eq!(reply.header("access-control-allow-origin"), Some(PAGE), "{path}");
    }
}

#[tokio::test]
async fn others_are_told_nothing_and_caches_that_it_varies() {
    let daemon = listed();
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
async fn a_name_that_is_listed_is_served() {
    let daemon = listed();
    for (host, status) in [("build.example", 200), ("BUILD.example:7878", 200), ("evil.example", 403)] {
        let reply = daemon.client().get("/v1/_ping").header("host", host).send().await;
        assert_eq!(reply.status, status, "{host}");
    }
}

#[tokio::test]
async fn patterns_are_refused_at_the_start() {
    for line in ["origins = [\"*\"]", "origins = [\"https://*.example\"]", "origins = [\"null\"]", "names = [\"*\"]"] {
        let refused = Setup::new(CAPSTAN).config(&format!("[http]\n{line}\n")).refused();
        assert_eq!(refused.status.code(), Some(125), "{line}");
        assert!(refused.stderr.contains("no pattern"), "{line}: {}", refused.stderr);
    }
}
