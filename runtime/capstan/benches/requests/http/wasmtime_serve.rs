//! `wasmtime serve` with the options that make it fastest.

use std::ffi::OsStr;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::super::load::Target;

/// How long it may take until it listens.
const START: Duration = Duration::from_secs(30);

/// What makes it fast: instances from pools whose memory stays resident, as those of the daemon do. It then answers four times as many
/// requests as with its defaults.
const OPTIONS: [&str; 8] = [
    "-Scli",
    "-Opooling-allocator=y",
    "-Opooling-memory-keep-resident=262144",
    "-Opooling-table-keep-resident=65536",
    "-Opooling-async-stack-keep-resident=65536",
    "-Opooling-max-unused-warm-slots=1000",
    "-Opooling-pagemap-scan=auto",
    "-Opooling-max-memory-size=67108864",
];

/// The server in its own process. Dropping it ends the process.
#[derive(Debug)]
pub(super) struct WasmtimeServe {
    process: Child,
    address: SocketAddr,
}

impl WasmtimeServe {
    /// Serves `program`, whose instances answer `reuse` requests each.
    pub(super) fn start(wasmtime: &OsStr, program: &Path, reuse: u32) -> Self {
        // It cannot choose a free port itself and print it.
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut command = Command::new(wasmtime);
        command.arg("serve").args(OPTIONS).arg(format!("--addr={address}"));
        command.arg(format!("--max-instance-reuse-count={reuse}")).arg(program).env("RUST_BACKTRACE", "0");
        let process = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let started = Instant::now();
        while TcpStream::connect(address).is_err() {
            assert!(started.elapsed() < START, "{command:?} does not listen");
            std::thread::sleep(Duration::from_millis(10));
        }
        Self { process, address }
    }

    pub(super) fn target(&self, request_line: &str) -> Target {
        Target::new(self.process.id(), self.address, request_line, b"hello\n")
    }
}

impl Drop for WasmtimeServe {
    fn drop(&mut self) {
        // Both fail only if the process has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
