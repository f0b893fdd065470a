//! The `capstan` command: daemon and client in one binary. Everything is in the library's `cli`.

use std::process::ExitCode;

fn main() -> ExitCode {
    capstan::cli::main()
}
