//! All routes of the table, with all methods and versions.

use super::super::router::Routes;
use super::*;

const METHODS: &[&str] = &["GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS", "PATCH", "TRACE", "BREW"];

/// Returns the paths of the table with their methods. Names and ids are filled in.
fn paths() -> Vec<(String, Vec<String>)> {
    let mut paths: Vec<(String, Vec<String>)> = Vec::new();
    for line in Routes.to_string().lines() {
        let (method, path) = line.split_once(' ').unwrap();
        let path = path.trim().replace("{name}", "nobody").replace("{id}", "0000000000000000");
        match paths.iter_mut().find(|(known, _)| *known == path) {
            Some((_, methods)) => methods.push(method.to_owned()),
            None => paths.push((path, vec![method.to_owned()])),
        }
    }
    assert!(paths.len() > 10, "{paths:?}");
    paths
}

struct Reply {
    status: u16,
    head: String,
    body: String,
}

impl Reply {
    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

async fn call(served: &TestServer, method: &str, path: &str) -> Reply {
    let mut connection = served.unix().await;
    let request = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    send(&mut connection, &request).await;
    let (response, _) = read_to_end(&mut connection).await;
    let (head, body) = response.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{method} {path}: {response:?}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Reply { status, head: head.to_owned(), body: body.to_owned() }
}

#[tokio::test]
async fn unsupported_method_gets_allowed_methods() {
    let served = TestServer::open().await;
    for (path, methods) in paths() {
        let mut allow = String::new();
        for method in &methods {
            allow += method;
            allow += if method == "GET" { ", HEAD, " } else { ", " };
        }
        allow += "OPTIONS";
        let has = |method: &str| methods.iter().any(|known| known == method);
        for method in METHODS {
            if has(method) || (*method == "HEAD" && has("GET")) {
                continue;
            }
            let reply = call(&served, method, &path).await;
            assert_eq!(reply.header("allow"), Some(allow.as_str()), "{method} {path}");
            if *method == "OPTIONS" {
                assert_eq!((reply.status, reply.body.as_str()), (204, ""), "{path}");
            } else {
                assert_eq!(reply.status, 405, "{method} {path}");
                assert_eq!(
                    reply.body.contains("method_not_allowed"),
                    *method != "HEAD",
                    "{method} {path}: {}",
                    reply.body
                );
            }
        }
    }
}

#[tokio::test]
async fn head_equals_get_without_body_on_every_path() {
    let served = TestServer::open().await;
    for (path, methods) in paths() {
        // A stream has no end to compare.
        if path == "/events" || !methods.iter().any(|method| method == "GET") {
            continue;
        }
        let (get, head) = (call(&served, "GET", &path).await, call(&served, "HEAD", &path).await);
        assert_eq!((get.status, "", false), (head.status, head.body.as_str(), get.body.is_empty()), "{path}");
        for name in ["content-type", "content-length", "etag"] {
            assert_eq!(get.header(name), head.header(name), "{name} of {path}");
        }
    }
    let events = call(&served, "HEAD", "/events").await;
    assert_eq!((events.status, events.body.as_str()), (200, ""));
}

#[tokio::test]
async fn every_path_is_served_under_supported_version_only() {
    let served = TestServer::open().await;
    for (path, _) in paths() {
        let bare = call(&served, "OPTIONS", &path).await;
        let versioned = call(&served, "OPTIONS", &format!("/v1{path}")).await;
        assert_eq!((bare.status, versioned.status), (204, 204), "{path}");
        for version in ["v0", "v2", "v99", "v1.0", "v01x", "v18446744073709551617"] {
            let reply = call(&served, "GET", &format!("/{version}{path}")).await;
            assert_eq!(reply.status, 400, "/{version}{path}");
            assert!(reply.body.contains("lowest is 1 and the highest 1"), "{}", reply.body);
        }
    }
}
