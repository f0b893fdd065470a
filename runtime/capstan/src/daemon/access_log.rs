//! The access log: opens its file, and writes its lines without keeping a request waiting.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use capstan_api::{AccessLog, AccessLogWriter};

use super::files;
use super::log::{FlushGuard, LogBuffer};
use super::settings::Settings;

/// The access log cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot open the access log {path}: {source}", path = .path.display())]
pub(super) struct AccessLogError {
    path: PathBuf,
    source: io::Error,
}

/// Opens the access log that the settings name, and starts its thread. Dropping the guard writes the remaining lines. Call this after the
/// process is confined: threads that exist before are not.
///
/// # Errors
/// [`AccessLogError`]
pub(super) fn start(
    settings: &Settings,
    file: Option<AccessLogFile>,
) -> Result<Option<(AccessLog, FlushGuard)>, AccessLogError> {
    let Some(AccessLogFile { path, output }) = file else { return Ok(None) };
    let (buffer, guard) = LogBuffer::start(output).map_err(|source| AccessLogError { path, source })?;
    Ok(Some((AccessLog { format: settings.access_log_format, writer: Arc::new(buffer) }, guard)))
}

/// The open file of the log.
pub(super) struct AccessLogFile {
    path: PathBuf,
    output: Box<dyn Write + Send>,
}

/// Opens the file that the settings name. Call this before the process is confined: the file may be anywhere.
///
/// # Errors
/// [`AccessLogError`]
pub(super) fn open(settings: &Settings) -> Result<Option<AccessLogFile>, AccessLogError> {
    let Some(path) = &settings.access_log else { return Ok(None) };
    let output: Box<dyn Write + Send> = if path == Path::new("-") {
        Box::new(io::stdout())
    } else {
        let file = files::append(path).map_err(|source| AccessLogError { path: path.clone(), source })?;
        Box::new(file)
    };
    Ok(Some(AccessLogFile { path: path.clone(), output }))
}

impl AccessLogWriter for LogBuffer {
    fn write_line(&self, line: &[u8]) {
        self.push(line);
    }
}
