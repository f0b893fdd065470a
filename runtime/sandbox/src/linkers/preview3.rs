//! What components of the feature `p3` may import besides WASI 0.2: the interfaces of WASI 0.3 that hold the limits of a run.
//!
//! `wasi:filesystem` and `wasi:sockets` of 0.3 are not there: those of wasmtime-wasi know neither the disk quota of a mount nor the limits on the
//! network. Programs use those of 0.2, which they can import at the same time.

use wasmtime::Result;
use wasmtime::component::Linker;
use wasmtime_wasi::cli::{WasiCli, WasiCliView as _};
use wasmtime_wasi::clocks::{WasiClocks, WasiClocksView as _};
use wasmtime_wasi::p3::bindings::{cli, clocks};
use wasmtime_wasi::p3::random;

use crate::clocks::HasMonotonicClock;
use crate::host::Host;
use crate::stdio::HasStandardStreams;

/// Adds the interfaces to `linker`. Its engine must support concurrency.
pub(super) fn add_to_linker(linker: &mut Linker<Host>) -> Result<()> {
    // Arguments, variables and exit codes need no limit. The streams have one.
    cli::environment::add_to_linker::<_, WasiCli>(linker, Host::cli)?;
    cli::exit::add_to_linker::<_, WasiCli>(linker, Host::cli)?;
    cli::terminal_input::add_to_linker::<_, WasiCli>(linker, Host::cli)?;
    cli::terminal_output::add_to_linker::<_, WasiCli>(linker, Host::cli)?;
    cli::terminal_stdin::add_to_linker::<_, WasiCli>(linker, Host::cli)?;
    cli::terminal_stdout::add_to_linker::<_, WasiCli>(linker, Host::cli)?;
    cli::terminal_stderr::add_to_linker::<_, WasiCli>(linker, Host::cli)?;
    cli::stdin::add_to_linker::<_, HasStandardStreams>(linker, |host| host.streams.clone())?;
    cli::stdout::add_to_linker::<_, HasStandardStreams>(linker, |host| host.streams.clone())?;
    cli::stderr::add_to_linker::<_, HasStandardStreams>(linker, |host| host.streams.clone())?;
    clocks::types::add_to_linker::<_, WasiClocks>(linker, Host::clocks)?;
    clocks::system_clock::add_to_linker::<_, WasiClocks>(linker, Host::clocks)?;
    clocks::monotonic_clock::add_to_linker::<_, HasMonotonicClock>(linker, HasMonotonicClock::from_host)?;
    // A call returns no more random bytes than the context allows, which may be less than the guest asked for.
    random::add_to_linker(linker)?;
    wasmtime_wasi_http::p3::add_to_linker(linker)
}
