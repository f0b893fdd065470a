//! `Mount`: a directory that was opened when it was granted, and under which name a guest finds it.
//!
//! The directory is a value: whoever holds a mount may hand it on, and nobody looks its path up again.

use std::fmt;
use std::sync::Arc;

use cap_std::fs::Dir;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A directory granted to a run.
#[derive(Clone, Debug)]
pub struct Mount {
    pub dir: Arc<Dir>,
    /// The path by which the guest knows it.
    pub guest_path: String,
    pub access: Access,
}

/// What a guest may do below a mount; more comes after less.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum Access {
    #[default]
    #[serde(rename = "ro")]
    ReadOnly,
    #[serde(rename = "rw")]
    ReadWrite,
}

impl fmt::Display for Access {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::ReadOnly => "ro",
            Self::ReadWrite => "rw",
        })
    }
}
