//! What the author of a Capstan job in Rust imports.
//!
//! A job is a program like any other: it has arguments, an Env, three streams and an exit code, and `std` already speaks
//! all of them. This crate adds the part that each author would otherwise write again: values that are typed, errors that name what
//! was wrong, and an exit code that can only be one.
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
//! Run with `--times many`, that job ends with exit code 2, and this is the last line of its stderr:
//!
//! ```text
//! error: argument --times: expected a whole number from 0 to 255, found "many"
//! ```
//!
//! * [`Args`] takes the arguments apart: `--flag value`, `--flag=value`, switches and positional ones.
//! * [`Env`] reads the variables that the run was given; a job inherits none.
//! * [`Value`] is what both of them can read, and what to implement for a type of one's own.
//! * [`InputError`] says which argument or variable was missing or malformed, and what was expected.
//! * [`Exit`] is what `main` returns.

#![warn(missing_docs)]
#![allow(
    clippy::disallowed_methods,
    reason = "a guest has no ambient authority: its args, env and streams are what the run was given"
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
