//! Cases in the format of WebAssembly/wasi-testsuite for components of `wasi:http/proxy` 0.2: a JSON file lists the operations on a server.
//!
//! | operation | does here |
//! |---|---|
//! | `run` | starts a daemon with the guest `web` |
//! | `request` | sends a request to the handler, and compares the fields of `response` that the file names |
//! | `kill` | sends the signal to the daemon |
//! | `wait` | waits until the daemon has exited with status 0 |

use std::collections::BTreeMap;
use std::fs;

use capstan_tests::{Client, Daemon, guests};
use rustix::process::Signal;
use serde::Deserialize;

use super::web;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Specification {
    proposals: Vec<String>,
    world: String,
    operations: Vec<Operation>,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "lowercase", deny_unknown_fields)]
enum Operation {
    Run,
    Request {
        method: Option<String>,
        path: String,
        #[serde(default)]
        headers: BTreeMap<String, String>,
        body: Option<String>,
        response: Expected,
    },
    Kill {
        signal: String,
    },
    Wait,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expected {
    status: u16,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    body: Option<String>,
}

async fn perform(operation: Operation, server: &mut Option<(Daemon, Client)>) {
    if let Operation::Run = operation {
        return *server = Some(web().await);
    }
    let (daemon, client) = server.as_mut().expect("the first operation is `run`");
    match operation {
        Operation::Run => unreachable!("it was handled above"),
        Operation::Request { method, path, headers, body, response } => {
            let mut call = client.call(method.as_deref().unwrap_or("GET"), &format!("/x/web{path}"));
            for (name, value) in headers {
                // Tests are short-lived, and a header of the client has a static name.
                call = call.header(name.leak(), &value);
            }
            if let Some(body) = body {
                call = call.body(body);
            }
            let reply = call.send().await;
            assert_eq!(reply.status, response.status, "{path}: {reply:?}");
            for (name, value) in &response.headers {
                assert_eq!(reply.header(name), Some(value.as_str()), "{path}: {reply:?}");
            }
            if let Some(body) = &response.body {
                assert_eq!(reply.text(), body, "{path}");
            }
        }
        Operation::Kill { signal } => {
            assert_eq!(signal, "SIGINT");
            daemon.signal(Signal::INT);
        }
        Operation::Wait => assert!(daemon.wait_exit().await.success()),
    }
}

#[tokio::test]
async fn cases_of_wasi_http_pass() {
    let mut names = Vec::new();
    for file in fs::read_dir(guests::root().join("tests/guests/web/conformance")).unwrap() {
        let path = file.unwrap().path();
        names.push(path.file_stem().unwrap().to_str().unwrap().to_owned());
        let specification: Specification = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        assert_eq!(
            (&specification.proposals[..], &specification.world[..]),
            (&["http".to_owned()][..], "wasi:http/proxy")
        );
        let mut server = None;
        for operation in specification.operations {
            perform(operation, &mut server).await;
        }
    }
    names.sort_unstable();
    assert_eq!(names, ["echo", "failure", "response", "uri"]);
}
