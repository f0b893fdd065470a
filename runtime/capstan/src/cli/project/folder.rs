//! [`Project`]: the directory of a job, with its manifest.

use std::borrow::Cow;
use std::io;
use std::path::{Path, PathBuf};

use cap_std::fs::Dir;

use super::error::ProjectError;
use super::language::Language;
use super::strip::daemon_manifest;
use super::tables::Tables;
use crate::cli::error::CliError;
use crate::cli::{paths, program};

/// The name of the manifest in the directory of a job.
pub(super) const MANIFEST: &str = "job.toml";

/// The directory of a job. It may lack a manifest.
#[derive(Debug)]
pub(super) struct Project {
    /// The absolute path.
    pub(super) path: PathBuf,
    /// The path as the user wrote it, for messages.
    pub(super) shown: PathBuf,
    pub(super) dir: Dir,
    /// The text of the manifest.
    text: Option<String>,
    pub(super) tables: Tables,
}

impl Project {
    /// Opens the directory and reads its manifest.
    ///
    /// # Errors
    /// [`CliError::File`], [`ProjectError::Tables`].
    pub(super) fn open(shown: &Path) -> Result<Self, CliError> {
        let path = std::path::absolute(shown).map_err(paths::file_error(shown))?;
        let dir = paths::open_dir(shown)?;
        let file = shown.join(MANIFEST);
        let text = match dir.read_to_string(MANIFEST) {
            Ok(text) => Some(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(paths::file_error(&file)(error)),
        };
        let tables = Tables::parse(text.as_deref().unwrap_or_default())
            .map_err(|reason| ProjectError::Tables { file, reason })?;
        Ok(Self { path, shown: shown.to_owned(), dir, text, tables })
    }

    /// Returns the name of the handler: `name` of the manifest, else the name of the directory.
    pub(super) fn name(&self) -> String {
        self.tables.name.clone().unwrap_or_else(|| program::handler_name(&self.path))
    }

    /// Returns the path of the program, relative to the directory.
    pub(super) fn output(&self) -> PathBuf {
        let file_name = |name: String| format!("{}.wasm", program::handler_name(format!("{name}.wasm").as_ref()));
        let default = || Path::new("target").join(file_name(self.name()));
        self.tables.build.output.clone().unwrap_or_else(default)
    }

    /// Returns the language of the sources.
    ///
    /// # Errors
    /// [`ProjectError::UnknownLanguage`]
    pub(super) fn language(&self) -> Result<Language, ProjectError> {
        let unknown = |reason| ProjectError::UnknownLanguage { dir: self.shown.clone(), reason };
        self.tables.build.lang.map_or_else(|| Language::detect(&self.dir).map_err(unknown), Ok)
    }

    /// Returns the manifest as the daemon gets it.
    pub(super) fn daemon_manifest(&self) -> Option<Cow<'_, str>> {
        self.text.as_deref().map(daemon_manifest)
    }

    /// Returns the path of a file in the directory, for messages.
    pub(super) fn shown(&self, file: impl AsRef<Path>) -> PathBuf {
        if self.shown == Path::new(".") { file.as_ref().to_owned() } else { self.shown.join(file) }
    }

    /// Reads a file in the directory.
    ///
    /// # Errors
    /// [`CliError::File`]
    pub(super) fn read(&self, file: &Path) -> Result<Vec<u8>, CliError> {
        self.dir.read(file).map_err(paths::file_error(&self.shown(file)))
    }

    /// Writes a file in the directory, and creates the directories that it needs.
    ///
    /// # Errors
    /// [`CliError::File`]
    pub(super) fn write(&self, file: &Path, bytes: &[u8]) -> Result<(), CliError> {
        self.create_parent(file)?;
        self.dir.write(file, bytes).map_err(paths::file_error(&self.shown(file)))
    }

    /// Creates the directory of a file.
    ///
    /// # Errors
    /// [`CliError::File`]
    pub(super) fn create_parent(&self, file: &Path) -> Result<(), CliError> {
        match file.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            Some(parent) => self.dir.create_dir_all(parent).map_err(paths::file_error(&self.shown(parent))),
            None => Ok(()),
        }
    }
}
