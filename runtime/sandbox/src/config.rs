//! [`Config`]: the settings of a sandbox.

use std::path::PathBuf;

use capstan_confinement::Mode;
use capstan_core::limits::Limits;
use capstan_engine::tasks::Tasks;
use capstan_store::Artifacts;

use crate::compile_limits::CompileLimits;
use crate::http::TrustedRoots;
use crate::network::Resolver;

/// The settings of a [`Sandbox`](crate::Sandbox).
#[derive(Clone, Debug)]
pub struct Config {
    /// The highest limits that any run may have. The pools of the default profile have room for them.
    pub ceiling: Limits,
    /// How many runs may be in progress at a time.
    pub runs: usize,
    /// Bytes of the WebAssembly stack of each guest. Default [`DEFAULT_STACK`](crate::DEFAULT_STACK).
    pub stack: usize,
    /// Limits on compiling one program.
    pub compile: CompileLimits,
    /// The executable that compiles. It is the running one, called with `compile-child`.
    pub compiler: PathBuf,
    /// What a compiler does if the kernel cannot confine it.
    pub confine: Mode,
    /// Where compiled code is stored. If this is `None`, every load compiles.
    pub artifacts: Option<Artifacts>,
    /// Where the threads and compilations of the sandbox are listed. If it lists anything, runs can be profiled.
    pub tasks: Tasks,
    /// What looks up the host names that guests ask for.
    pub resolver: Resolver,
    /// The certificates that the servers of outbound HTTP requests must be issued by.
    pub roots: TrustedRoots,
}
