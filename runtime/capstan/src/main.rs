//! The `capstan` command, which is both the daemon and its client. The code is in the library.

use std::process::ExitCode;

#[cfg(feature = "profiling")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    capstan::cli::main()
}
