//! The `capstan` command: daemon and client in one binary. Everything is in the library's `cli`.

use std::process::ExitCode;

#[cfg(feature = "profiling")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    capstan::cli::main()
}
