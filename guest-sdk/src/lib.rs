//! The SDK for Capstan jobs in Rust.
//!
//! A job is an ordinary program. It has arguments, environment variables, three streams and an exit code, and `std` gives access to all of
//! them. This crate adds what each author would otherwise write again: typed arguments and variables, errors that name the invalid input,
//! and an exit code from 0 to 255.
//!
//! ```no_run
//! use capstan_guest::{Args, Exit};
//!
//! fn main() -> Exit {
//!     Exit::of(greet(Args::of_job()))
//! }
//!
//! fn greet(args: Args) -> Result<(), Exit> {
//!     let mut args = args;
//!     let times = args.flag("times")?.unwrap_or(1_u8);
//!     let name: String = args.positional("name")?.unwrap_or("world".into());
//!     args.finish()?;
//!     for _ in 0..times {
//!         println!("hello, {name}");
//!     }
//!     Ok(())
//! }
//! ```
//!
//! With `--times many`, this job exits with code 2, and the last line of its stderr is:
//!
//! ```text
//! error: argument --times: expected a whole number from 0 to 255, found "many"
//! ```
//!
//! * [`Args`] parses the arguments: `--flag value`, `--flag=value`, switches and positional arguments.
//! * [`Env`] reads the environment variables of the run. A job inherits none from the daemon.
//! * [`Value`] is the trait of types that both can parse. Implement it for your own types.
//! * [`InputError`] names the missing or malformed argument or variable, and what was expected.
//! * [`Exit`] is the return type of `main`.

#![warn(missing_docs)]
#![allow(
    clippy::disallowed_methods,
    reason = "a guest has no ambient authority: its args, env and streams come from the run"
)]

mod args;
mod env;
mod exit;
mod input;
mod value;

pub use args::Args;
pub use env::Env;
pub use exit::Exit;
pub use input::InputError;
pub use value::Value;
