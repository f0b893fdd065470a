//! The exit codes of the command itself, next to those of the guest.
//!
//! [`Outcome::exit_code`](capstan_core::outcome::Outcome::exit_code) maps the outcome of a run to an exit code.

/// `capstan store` has found damage.
pub(super) const DAMAGED: u8 = 1;
/// Capstan or the daemon failed or rejected the request, or the command was used wrongly.
pub(super) const FAILED: u8 = 125;
/// The daemon has no handler of this name.
pub(super) const UNKNOWN_HANDLER: u8 = 127;
/// The run was stopped, or the reader of the output closed it.
pub(super) const KILLED: u8 = 137;
