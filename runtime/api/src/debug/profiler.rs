//! What profiles of the daemon have in common: a format, and that a daemon takes one at a time.

use hyper::StatusCode;
use tokio::sync::OwnedSemaphorePermit;

use super::super::error::Error;
use super::super::query::Parameters;
use super::super::state::ApiState;

/// The format of a profile of the daemon.
#[derive(Clone, Copy, Debug)]
pub(super) enum Format {
    /// For `pprof`. The default.
    Protobuf,
    FlameGraph,
}

impl Format {
    /// Reads the parameter `format`.
    pub(super) fn parse(parameters: &Parameters) -> Result<Self, Error> {
        let format = parameters.parse_value("format", "pprof or flamegraph", |text| match text {
            "pprof" => Some(Self::Protobuf),
            "flamegraph" => Some(Self::FlameGraph),
            _ => None,
        });
        Ok(format?.unwrap_or(Self::Protobuf))
    }

    pub(super) fn media_type(self) -> &'static str {
        match self {
            Self::Protobuf => "application/octet-stream",
            Self::FlameGraph => "image/svg+xml",
        }
    }
}

/// Takes the profiler of the daemon, which takes one profile at a time.
///
/// # Errors
/// [`Error`]: 409 `conflict` while another profile is taken; 404 without debug mode.
pub(super) fn acquire_profiler(state: &ApiState) -> Result<OwnedSemaphorePermit, Error> {
    state.debug_mode()?.profiler.clone().try_acquire_owned().map_err(|_| {
        let message = "another profile is being taken, and a daemon takes one at a time; try again when it is finished";
        Error::new(StatusCode::CONFLICT, "conflict", message)
    })
}
