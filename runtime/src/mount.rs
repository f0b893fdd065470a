//! `Mount`: a directory that was opened when it was granted, and under which name a guest finds it.
//!
//! The directory is a value: whoever holds a mount may hand it on, and nobody looks its path up again.

use std::sync::Arc;

use cap_std::fs::Dir;

/// A directory granted to a run.
#[derive(Clone, Debug)]
pub struct Mount {
    pub dir: Arc<Dir>,
    /// The path by which the guest knows it.
    pub guest_path: String,
    pub access: Access,
}

/// What a guest may do below a mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    ReadOnly,
    ReadWrite,
}
