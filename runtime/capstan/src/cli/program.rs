//! Program files: which command-line words name a file, reading one, and the names that it suggests.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use bytes::Bytes;
use capstan_engine::handler::MAX_NAME;
use capstan_store::FileIdentity;
use wat::Detect;

use super::error::CliError;
use super::paths;

/// What the first word after the options of `run` names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// A handler of the daemon.
    Handler(String),
    /// A program file of the user.
    File(PathBuf),
    /// A script of the user, which a runtime runs.
    Script(PathBuf),
}

impl Target {
    /// Decides what `word` names. A word with a slash is a file, since no name of a handler has one. A word that ends in `.wasm` or `.wat`
    /// is a file if that file exists, or if the user did not name a daemon. Any other word is a handler.
    ///
    /// # Errors
    /// [`CliError::ArgNotUtf8`] for the name of a handler that is not UTF-8.
    pub(super) fn parse(word: &OsStr, is_daemon_explicit: bool) -> Result<Self, CliError> {
        let path = Path::new(word);
        let has_slash = word.as_encoded_bytes().contains(&b'/');
        let has_wasm_extension = path.extension().is_some_and(|extension| extension == "wasm" || extension == "wat");
        if has_slash || (has_wasm_extension && (paths::is_file(path) || !is_daemon_explicit)) {
            return Ok(Self::File(path.to_owned()));
        }
        Ok(Self::Handler(word.to_str().ok_or(CliError::ArgNotUtf8(0))?.to_owned()))
    }
}

/// Reads a program in binary or text form and returns its binary form. `-` is stdin. A file that is neither is returned unchanged: the
/// compiler reports what is wrong with it.
///
/// # Errors
/// [`CliError::File`], [`CliError::Stdin`], [`CliError::WasmText`].
pub(super) fn read(path: &Path) -> Result<Bytes, CliError> {
    to_binary(path, paths::read(path)?)
}

/// A program file that is open, and has not been read.
#[derive(Debug)]
pub(super) struct ProgramFile {
    path: PathBuf,
    file: File,
    /// `None` if it cannot be told whether the file changes.
    pub(super) identity: Option<FileIdentity>,
}

impl ProgramFile {
    /// Opens the program in `path`. Returns `None` for stdin.
    ///
    /// # Errors
    /// [`CliError::File`]
    pub(super) fn open(path: &Path) -> Result<Option<Self>, CliError> {
        if path == Path::new("-") {
            return Ok(None);
        }
        let file = paths::open(path)?;
        let identity = FileIdentity::of(&file);
        Ok(Some(Self { path: path.to_owned(), file, identity }))
    }

    /// Reads the program, as [`read`] does. Also returns the identity of the file, if any later change of the file gives it another one.
    ///
    /// # Errors
    /// As [`read`].
    pub(super) fn read(mut self) -> Result<(Bytes, Option<FileIdentity>), CliError> {
        let began = SystemTime::now();
        let mut bytes = Vec::new();
        self.file.read_to_end(&mut bytes).map_err(paths::file_error(&self.path))?;
        let is_same = self.identity.is_some() && FileIdentity::of(&self.file) == self.identity;
        let identity = self.identity.filter(|identity| is_same && identity.is_settled(began));
        Ok((to_binary(&self.path, bytes)?, identity))
    }
}

fn to_binary(path: &Path, bytes: Vec<u8>) -> Result<Bytes, CliError> {
    let has_text_extension = path.extension().is_some_and(|extension| extension == "wat");
    match Detect::from_bytes(&bytes) {
        Detect::WasmBinary => return Ok(bytes.into()),
        Detect::Unknown if !has_text_extension => return Ok(bytes.into()),
        Detect::WasmText | Detect::Unknown => {}
    }
    match wat::Parser::new().parse_bytes(Some(path), &bytes) {
        Ok(wasm) => Ok(wasm.into_owned().into()),
        Err(error) => Err(CliError::WasmText { file: path.display().to_string(), reason: error.to_string() }),
    }
}

/// Returns the `argv[0]` of a program that is run from a file: the name of the file, without its directory.
pub(super) fn argv0(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

/// Returns the name of a handler that a file suggests: its own name without the extension. Stdin suggests none.
pub(super) fn suggested_name(path: &Path) -> Option<&str> {
    if path == Path::new("-") { None } else { path.file_stem()?.to_str() }
}

/// Returns the name of the file without its extension, changed where needed into a valid name of a handler.
pub(super) fn handler_name(file: &Path) -> String {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    let name = stem.replace(|c: char| !(c.is_ascii_alphanumeric() || "._-".contains(c)), "-");
    let name = name.trim_start_matches(|c: char| !c.is_ascii_alphanumeric());
    let name = &name[..name.len().min(MAX_NAME)];
    if name.is_empty() { "program".to_owned() } else { name.to_owned() }
}

#[cfg(test)]
mod tests {
    use capstan_engine::handler::HandlerName;

    use super::*;

    #[test]
    fn argv0_is_the_file_name_with_extension() {
        for (path, expected) in [("hello.wasm", "hello.wasm"), ("./a/b.wat", "b.wat"), ("/x/no-ending", "no-ending")] {
            assert_eq!(argv0(Path::new(path)), expected);
        }
    }

    #[track_caller]
    fn check(word: &str, is_daemon_explicit: bool, expected: &Target) {
        assert_eq!(Target::parse(OsStr::new(word), is_daemon_explicit).unwrap(), *expected, "{word}");
    }

    #[test]
    fn target_is_file_or_handler() {
        let handler = |name: &str| Target::Handler(name.into());
        let file = |path: &str| Target::File(path.into());
        check("wc", false, &handler("wc"));
        check("./wc", true, &file("./wc"));
        check("no-such-file.wasm", false, &file("no-such-file.wasm"));
        check("no-such-file.wasm", true, &handler("no-such-file.wasm"));
        let existing = tempfile::Builder::new().suffix(".wat").tempfile().unwrap();
        let path = existing.path().to_str().unwrap();
        check(path, true, &file(path));
    }

    #[test]
    fn text_is_converted_to_binary_and_other_bytes_are_unchanged() {
        let binary = to_binary(Path::new("a"), b" ;; text\n (module)".to_vec()).unwrap();
        assert_eq!(&binary[..], b"\0asm\x01\0\0\0");
        assert_eq!(to_binary(Path::new("a.wat"), binary.to_vec()).unwrap(), binary);
        assert_eq!(&to_binary(Path::new("a.wasm"), b"\x7fELF".to_vec()).unwrap()[..], b"\x7fELF");
        let error = to_binary(Path::new("a.wat"), b"(module (nonsense))".to_vec()).unwrap_err().to_string();
        assert!(error.contains("a.wat:1:10"), "{error}");
        assert!(to_binary(Path::new("a.wat"), b"\xff".to_vec()).is_err());
    }

    #[test]
    fn file_suggests_its_name_without_extension() {
        assert_eq!(suggested_name(Path::new("/x/wc.wasm")), Some("wc"));
        assert_eq!(suggested_name(Path::new("a.b.wat")), Some("a.b"));
        assert_eq!(suggested_name(Path::new("-")), None);
    }

    #[test]
    fn every_file_name_becomes_a_valid_handler_name() {
        for (file, expected) in
            [("/x/wc.wasm", "wc"), ("a b.wasm", "a-b"), ("..", "program"), ("-ü.wasm", "program"), (".a.wasm", "a")]
        {
            assert_eq!(handler_name(Path::new(file)), expected);
            assert!(HandlerName::new(expected).is_ok());
        }
        assert!(HandlerName::new(&handler_name(Path::new(&"x".repeat(300)))).is_ok());
    }
}
