//! Stores that the disk or somebody else has changed, and what the operator does about it: check, back up, restore, vacuum.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests change files of their own, and fail by panicking"
)]

mod backups;
mod damaged;
mod filled;
mod moved_output;
mod restarts;
