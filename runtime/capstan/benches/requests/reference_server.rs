//! The servers to compare the daemon with: hyper with its defaults, and a constant response or the [thinnest run](super::thinnest_run).

use std::convert::Infallible;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use bytes::Bytes;
use capstan_tests::guests;
use http_body_util::Full;
use hyper::Response;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::runtime::Builder;
use tokio::task::JoinSet;

use super::thinnest_run::Program;

/// The option that makes this program a server. Its value is the guest that it runs, or nothing for a constant response.
const OPTION: &str = "--reference-server=";

/// Returns what this process shall serve, if it is a server.
pub(crate) fn requested() -> Option<String> {
    std::env::args().find_map(|arg| arg.strip_prefix(OPTION).map(str::to_owned))
}

/// Prints a free port, and serves `guest` on it until the process is killed.
pub(crate) fn serve(guest: &str) {
    let program = (!guest.is_empty()).then(|| Arc::new(Program::compile(&guests::compiled(guest))));
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        println!("{}", listener.local_addr().unwrap());
        let mut connections = JoinSet::new();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            let program = program.clone();
            let respond = service_fn(move |_| {
                let program = program.clone();
                async move {
                    let body = match &program {
                        Some(program) => program.run().await,
                        None => Bytes::from_static(b"hello\n"),
                    };
                    Ok::<_, Infallible>(Response::new(Full::new(body)))
                }
            });
            connections.spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), respond));
        }
    });
}

/// A server in its own process. Dropping it ends the process.
#[derive(Debug)]
pub(crate) struct Server {
    process: Child,
    address: SocketAddr,
}

impl Server {
    /// Starts a server that runs `guest`, or responds with a constant if that is empty.
    pub(crate) fn start(guest: &str) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        let command = command.arg(format!("{OPTION}{guest}")).env("RUST_BACKTRACE", "0");
        let mut process = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { process, address: line.trim().parse().unwrap() }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only if the process has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
