//! [`HandlerRecord`]: what is stored of a handler besides its program.

use capstan_core::feature::Features;
use capstan_core::manifest::Manifest;
use capstan_engine::handler::HandlerInfo;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::program_files::ProgramSummary;

/// What is stored of a handler besides its program.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HandlerRecord {
    #[serde(rename = "about")]
    pub info: HandlerInfo,
    pub manifest: Manifest,
    pub created: Timestamp,
}

impl HandlerRecord {
    /// Returns what its program is.
    pub fn program(&self) -> ProgramSummary {
        let HandlerInfo { digest, kind, size, .. } = &self.info;
        ProgramSummary {
            digest: digest.clone().unwrap_or_default(),
            kind: *kind,
            size: *size,
            features: self.features().clone(),
        }
    }

    /// Returns the WebAssembly features that its program uses. A handler that was pushed before features were detected was compiled with those
    /// that its manifest asked for.
    pub fn features(&self) -> &Features {
        static NONE: Features = Features::new();
        self.info.features.as_ref().or(self.manifest.policy.features.as_ref()).unwrap_or(&NONE)
    }

    /// Returns the content of its file.
    pub(super) fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(self).expect("plain data")
    }

    /// Returns the record in a file, or `None` if the file is damaged.
    pub(super) fn from_json(json: &[u8]) -> Option<Self> {
        serde_json::from_slice(json).ok()
    }
}
