//! [`ManifestFile`]: the manifest that a push sends, and what of it the command itself needs.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use toml::{Table, Value};

use crate::cli::error::CliError;
use crate::cli::{paths, project};

/// A manifest. The daemon checks all keys that are not here, since it may be newer than this command and know more of them.
#[derive(Debug, Default)]
pub(super) struct ManifestFile {
    pub(super) table: Table,
    /// The text that was read, unless it was changed since. It keeps its comments and lines.
    pub(super) unchanged: Option<Bytes>,
    pub(super) name: Option<String>,
    /// The handler whose program is shared.
    pub(super) from: Option<String>,
    /// The directory or file to send, as this process finds it.
    pub(super) files: Option<PathBuf>,
}

impl ManifestFile {
    /// Reads the manifest in `path`.
    ///
    /// # Errors
    /// [`CliError::Manifest`], [`CliError::File`].
    pub(super) fn read(path: &Path) -> Result<Self, CliError> {
        let bytes = paths::read(path)?;
        let invalid = |reason: String| CliError::Manifest { file: path.display().to_string(), reason };
        let bytes: Bytes = match std::str::from_utf8(&bytes) {
            Ok(text) => project::daemon_manifest(text).into_owned().into(),
            Err(_) => bytes.into(),
        };
        let table: Table =
            toml::from_slice(&bytes).map_err(|error| invalid(error.to_string().trim_end().to_owned()))?;
        let text = |key: &str, value: Option<&Value>| match value {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(invalid(format!("`{key}` must be a string"))),
        };
        let name = text("name", table.get("name"))?;
        let from = text("from", table.get("program").and_then(|program| program.get("from")))?;
        // Relative to the manifest, wherever the command is called.
        let files = text("files", table.get("files"))?.map(|files| path.parent().unwrap_or(Path::new("")).join(files));
        Ok(Self { table, unchanged: Some(bytes), name, from, files })
    }

    /// Makes it share the program of the handler `from`.
    pub(super) fn set_from(&mut self, from: String) {
        if self.from.as_ref() == Some(&from) {
            return;
        }
        let program = self.table.entry("program").or_insert_with(|| Table::new().into());
        // Anything else than a table is an error that the daemon reports.
        if let Value::Table(program) = program {
            program.insert("from".to_owned(), from.clone().into());
        }
        self.unchanged = None;
        self.from = Some(from);
    }

    /// Returns its content. `None` if it says nothing.
    pub(super) fn into_bytes(self) -> Option<Bytes> {
        if self.unchanged.is_some() || self.table.is_empty() {
            return self.unchanged;
        }
        Some(self.table.to_string().into())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn read(text: &str) -> Result<ManifestFile, CliError> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        ManifestFile::read(file.path())
    }

    #[test]
    fn manifest_that_is_not_toml_is_rejected() {
        assert_eq!(read("name = \"wc\"\nlater = 1").unwrap().name.as_deref(), Some("wc"));
        assert_eq!(read("").unwrap().name, None);
        for text in ["name = ", "name = 3", "files = 3", "[program]\nfrom = 3"] {
            assert!(matches!(read(text), Err(CliError::Manifest { .. })), "{text}");
        }
    }

    #[test]
    fn files_are_relative_to_the_manifest() {
        let files = read("files = \"data/\"").unwrap().files.unwrap();
        assert!(files.is_absolute() && files.ends_with("data"), "{files:?}");
    }

    #[test]
    fn base_of_the_command_line_replaces_that_of_the_manifest() {
        let text = "# why\n[program]\nfrom = \"a\"\nargs = [\"x\"]\n";
        let mut manifest = read(text).unwrap();
        manifest.set_from("a".to_owned());
        assert_eq!(manifest.into_bytes().unwrap(), text);
        let mut manifest = read(text).unwrap();
        manifest.set_from("b".to_owned());
        let table: Table = toml::from_slice(&manifest.into_bytes().unwrap()).unwrap();
        assert_eq!(table, "[program]\nfrom = \"b\"\nargs = [\"x\"]".parse().unwrap());
        let mut manifest = ManifestFile::default();
        manifest.set_from("b".to_owned());
        assert!(String::from_utf8(manifest.into_bytes().unwrap().to_vec()).unwrap().contains("from = \"b\""));
        assert_eq!(ManifestFile::default().into_bytes(), None);
    }
}
