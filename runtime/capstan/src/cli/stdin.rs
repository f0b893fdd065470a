//! `GuestStdin`: where the stdin of a guest comes from.
//!
//! As with docker, a pipe is read only with `-i`. Otherwise a command in a loop would take the input of the loop, and a background job would
//! wait for a pipe that its supervisor never closes. A file is read anyway: it always ends, and reading it leaves the position alone that
//! this process shares with others.

use std::fs::File;
use std::io::{self, IsTerminal as _};
use std::os::fd::AsFd as _;
use std::path::Path;

use super::error::CliError;
use super::paths;

/// The stdin of a guest.
#[derive(Debug)]
pub(super) enum GuestStdin {
    Empty,
    /// The stdin of this process, as it arrives.
    Inherited,
    File(File),
}

impl GuestStdin {
    /// Returns the stdin of a run that this process waits for: `file`, or what `is_interactive` and the stdin of this process say.
    ///
    /// # Errors
    /// [`CliError::File`], [`CliError::Stdin`].
    pub(super) fn for_run(file: Option<&Path>, is_interactive: bool) -> Result<Self, CliError> {
        match file {
            Some(file) => Self::from_path(file),
            None if is_interactive || io::stdin().is_terminal() => Ok(Self::Inherited),
            None => Self::from_redirection(),
        }
    }

    /// Returns the stdin of a background job: `file`, or the stdin of this process if that is a file.
    ///
    /// # Errors
    /// [`CliError::File`], [`CliError::Stdin`].
    pub(super) fn for_job(file: Option<&Path>) -> Result<Self, CliError> {
        file.map_or_else(Self::from_redirection, Self::from_path)
    }

    fn from_path(file: &Path) -> Result<Self, CliError> {
        if file == Path::new("-") {
            return Ok(Self::Inherited);
        }
        paths::open(file).map(Self::File)
    }

    fn from_redirection() -> Result<Self, CliError> {
        Ok(paths::redirected_stdin().map_err(CliError::Stdin)?.map_or(Self::Empty, Self::File))
    }

    /// Returns the file to read, whose reads may block. `None` if there are no bytes.
    ///
    /// # Errors
    /// [`CliError::Stdin`]
    pub(super) fn into_file(self) -> Result<Option<File>, CliError> {
        match self {
            Self::Empty => Ok(None),
            Self::Inherited => {
                let stdin = io::stdin().as_fd().try_clone_to_owned().map_err(CliError::Stdin)?;
                Ok(Some(stdin.into()))
            }
            Self::File(file) => Ok(Some(file)),
        }
    }
}
