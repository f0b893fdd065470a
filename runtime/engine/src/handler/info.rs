//! Plain descriptions of a handler: [`HandlerInfo`], [`Kind`] and [`Role`].

use capstan_core::feature::Features;
use capstan_core::manifest::RuntimeTable;
use serde::{Deserialize, Serialize};

use super::files::{BaseInfo, FilesInfo};

/// What a handler is, as lists show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandlerInfo {
    pub kind: Kind,
    /// The SHA-256 of the program, as `sha256:HEX`. Native handlers have none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// The size of the program in bytes, or 0 for native handlers.
    pub size: u64,
    /// The WebAssembly features that the program uses. Native handlers have none, and those that were pushed before features were detected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub features: Option<Features>,
    /// Whether it has no entry point, so that each run has to invoke one of its functions.
    #[serde(rename = "library", default, skip_serializing_if = "std::ops::Not::not")]
    pub is_library: bool,
    /// Whether it answers HTTP requests itself, as a component that exports `wasi:http/incoming-handler`.
    #[serde(rename = "http", default, skip_serializing_if = "std::ops::Not::not")]
    pub answers_http: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// One line that shows how the handler is called.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<FilesInfo>,
    /// The handler whose program it shares.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<BaseInfo>,
    /// Which scripts it runs, if it is a runtime of scripts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime: Option<RuntimeTable>,
}

impl HandlerInfo {
    /// Returns what changes whenever the program or the files do: the digest of the program, and after a dash that of the files, if there
    /// are any. Native handlers have none.
    pub fn version(&self) -> Option<String> {
        let digest = self.digest.clone()?;
        Some(match &self.files {
            None => digest,
            Some(files) => format!("{digest}-{}", files.digest),
        })
    }
}

/// What a handler is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Code of the daemon.
    Native,
    /// A core module for WASI preview 1.
    Module,
    /// A component for `wasi:cli/command` 0.2.
    Component,
}

/// How the engine treats the jobs of a handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The job ends by itself. It needs a slot, its deadline bounds it, and shutdown waits for it.
    Work,
    /// The job asks the daemon something and ends soon. It needs no slot and shutdown does not wait for it, so that a full or stopping
    /// daemon still reports its state.
    Query,
    /// The job runs for the life of the daemon, and only the daemon starts it. The ancestor exempted one job by its name.
    Service,
}
