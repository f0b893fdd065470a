//! `Limits`: what a run may use, and `Asked`: what somebody wants of it.
//!
//! The limits of a run are the operator's ceiling, narrowed by the handler's manifest, narrowed by the caller. Nobody widens what
//! stands above: asking for more than there is gives what there is.

use std::time::Duration;

use serde::{Deserialize, Serialize, Serializer};

use crate::units;

/// What one run may use. [`Limits::default`] is the ceiling of a daemon that was told nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Limits {
    /// Wall clock from start to end, waiting in host calls included. Default one hour.
    #[serde(serialize_with = "as_seconds")]
    pub timeout: Duration,
    /// Bytes over all memories and tables together. Default 256 MiB: filling more at a stroke delays the stop at a deadline.
    pub memory: u64,
    /// Open handles: files, directories, streams. Default 128.
    pub handles: usize,
    /// Bytes the guest may make the host copy in one host call. Default 8 MiB: some runtimes write megabytes at a stroke.
    pub hostcall: usize,
    /// Bytes of stdout. Default 1 GiB.
    pub stdout: u64,
    /// Bytes of stderr. Default 16 MiB.
    pub stderr: u64,
}

/// What a manifest or a caller asks for; what is absent is not narrowed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Asked {
    #[serde(deserialize_with = "units::deserialize_duration", serialize_with = "as_optional_seconds")]
    pub timeout: Option<Duration>,
    #[serde(deserialize_with = "units::deserialize_size")]
    pub memory: Option<u64>,
    pub handles: Option<usize>,
    #[serde(deserialize_with = "units::deserialize_size")]
    pub stdout: Option<u64>,
    #[serde(deserialize_with = "units::deserialize_size")]
    pub stderr: Option<u64>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(3600),
            memory: 256 << 20,
            handles: 128,
            hostcall: 8 << 20,
            stdout: 1 << 30,
            stderr: 16 << 20,
        }
    }
}

impl Limits {
    /// The smaller of these and what is asked for, limit by limit.
    #[must_use]
    pub fn narrowed(self, asked: &Asked) -> Self {
        Self {
            timeout: self.timeout.min(asked.timeout.unwrap_or(self.timeout)),
            memory: self.memory.min(asked.memory.unwrap_or(self.memory)),
            handles: self.handles.min(asked.handles.unwrap_or(self.handles)),
            hostcall: self.hostcall,
            stdout: self.stdout.min(asked.stdout.unwrap_or(self.stdout)),
            stderr: self.stderr.min(asked.stderr.unwrap_or(self.stderr)),
        }
    }

    /// These, with what is asked for put in place: how an operator sets a ceiling.
    #[must_use]
    pub fn replaced(self, asked: &Asked) -> Self {
        Self {
            timeout: asked.timeout.unwrap_or(self.timeout),
            memory: asked.memory.unwrap_or(self.memory),
            handles: asked.handles.unwrap_or(self.handles),
            hostcall: self.hostcall,
            stdout: asked.stdout.unwrap_or(self.stdout),
            stderr: asked.stderr.unwrap_or(self.stderr),
        }
    }
}

fn as_seconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}

fn as_optional_seconds<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    duration.map(|duration| duration.as_secs_f64()).serialize(serializer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_widens_what_stands_above() {
        let asked = Asked { memory: Some(1 << 40), timeout: Some(Duration::from_secs(1)), ..Asked::default() };
        let limits = Limits::default().narrowed(&asked);
        assert_eq!(limits, Limits { timeout: Duration::from_secs(1), ..Limits::default() });
    }

    #[test]
    fn an_unknown_limit_is_refused_by_name() {
        let error = toml::from_str::<Asked>("memroy = \"1MiB\"").unwrap_err();
        assert!(error.to_string().contains("memroy"), "{error}");
        let asked: Asked = toml::from_str("memory = \"1MiB\"\ntimeout = 2.5\nstdout = 10").unwrap();
        assert_eq!(asked.memory, Some(1 << 20));
        assert_eq!(asked.timeout, Some(Duration::from_millis(2500)));
        assert_eq!(asked.stdout, Some(10));
    }
}
