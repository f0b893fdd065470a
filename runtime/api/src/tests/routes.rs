//! Every route of the table, with every method and version.

use super::super::router::Routes;
use super::*;

const METHODS: &[&str] = &["GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS", "PATCH", "TRACE", "BREW"];

/// The paths of the table with their methods, names and ids filled in.
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

struct Answered {
    status: u16,
    head: String,
    body: String,
}

impl Answered {
    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

async fn call(served: &Served, method: &str, path: &str) -> Answered {
    let mut connection = served.unix().await;
    let request = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    ask(&mut connection, &request).await;
    let (answer, _) = rest(&mut connection).await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{method} {path}: {answer:?}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answered { status, head: head.to_owned(), body: body.to_owned() }
}

#[tokio::test]
async fn a_method_that_a_path_has_not_is_told_those_that_it_has() {
    let served = Served::open().await;
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
            let told = call(&served, method, &path).await;
            assert_eq!(told.header("allow"), Some(allow.as_str()), "{method} {path}");
            if *method == "OPTIONS" {
                assert_eq!((told.status, told.body.as_str()), (204, ""), "{path}");
            } else {
                assert_eq!(told.status, 405, "{method} {path}");
                assert_eq!(
                    told.body.contains("method_not_allowed"),
                    *method != "HEAD",
                    "{method} {path}: {}",
                    told.body
                );
            }
        }
    }
}

#[tokio::test]
async fn head_is_get_without_the_body_on_every_path() {
    let served = Served::open().await;
    for (path, methods) in paths() {
        // An answer that goes on has no end to compare.
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
async fn every_path_is_served_under_its_version_and_under_no_other() {
    let served = Served::open().await;
    for (path, _) in paths() {
        let bare = call(&served, "OPTIONS", &path).await;
        let versioned = call(&served, "OPTIONS", &format!("/v1{path}")).await;
        assert_eq!((bare.status, versioned.status), (204, 204), "{path}");
        for version in ["v0", "v2", "v99", "v1.0", "v01x", "v18446744073709551617"] {
            let told = call(&served, "GET", &format!("/{version}{path}")).await;
            assert_eq!(told.status, 400, "/{version}{path}");
            assert!(told.body.contains("lowest is 1 and the highest 1"), "{}", told.body);
        }
    }
}
