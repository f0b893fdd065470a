//! [`ConfinementReport`]: how a process is confined.

use rustix::thread::SecureComputingMode;
use serde::{Deserialize, Serialize};

use super::capabilities;

/// How a process is confined.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfinementReport {
    /// Whether a program that it executes cannot get more privileges than the process itself.
    pub no_new_privs: bool,
    /// The capabilities that it still has.
    pub capabilities: Vec<String>,
    /// The level of Landlock that applies, from 1 to 6. 0 if none does.
    pub landlock: u8,
    /// Whether its system calls are filtered.
    pub seccomp: bool,
    /// What is missing from the requested confinement, and why.
    #[serde(rename = "lacks")]
    pub gaps: Vec<String>,
}

impl ConfinementReport {
    /// Reports the confinement of this thread before it requests any. The process that started it may have confined it already. Landlock
    /// cannot be detected, so its level is 0.
    pub fn inherited() -> Self {
        Self {
            no_new_privs: rustix::thread::no_new_privs().unwrap_or_default(),
            capabilities: capabilities::remaining(),
            landlock: 0,
            seccomp: rustix::thread::secure_computing_mode().is_ok_and(|mode| mode == SecureComputingMode::Filter),
            gaps: Vec::new(),
        }
    }
}
