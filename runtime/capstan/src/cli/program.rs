//! Programs as files: which word names one, what it is called, and its binary form.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use wat::Detect;

use super::error::CliError;
use super::paths;

/// What the first word of `run` names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// A handler of the daemon.
    Handler(String),
    /// A file of the caller.
    File(PathBuf),
}

impl Target {
    /// What `word` names. A file is told by its ending or by a slash, which no handler's name holds; a word that only ends like a
    /// file may still be a handler of the daemon, if the user named one.
    ///
    /// # Errors
    /// [`CliError::File`] for a file that is not there, [`CliError::NotText`].
    pub(super) fn of(word: &OsStr, daemon_named: bool) -> Result<Self, CliError> {
        let path = Path::new(word);
        let slash = word.as_encoded_bytes().contains(&b'/');
        let ending = path.extension().is_some_and(|ending| ending == "wasm" || ending == "wat");
        if slash || (ending && (paths::is_file(path) || !daemon_named)) {
            return Ok(Self::File(path.to_owned()));
        }
        Ok(Self::Handler(word.to_str().ok_or(CliError::NotText(0))?.to_owned()))
    }
}

/// Reads a program, in binary or in text form; `-` is stdin. What is neither is handed on as it is: whoever compiles it says what
/// is wrong with it.
///
/// # Errors
/// [`CliError::File`], [`CliError::Stdin`], [`CliError::Text`].
pub(super) fn read(path: &Path) -> Result<Bytes, CliError> {
    to_binary(path, paths::read(path)?)
}

fn to_binary(path: &Path, bytes: Vec<u8>) -> Result<Bytes, CliError> {
    let named_text = path.extension().is_some_and(|ending| ending == "wat");
    match Detect::from_bytes(&bytes) {
        Detect::WasmBinary => return Ok(bytes.into()),
        Detect::Unknown if !named_text => return Ok(bytes.into()),
        Detect::WasmText | Detect::Unknown => {}
    }
    match wat::Parser::new().parse_bytes(Some(path), &bytes) {
        Ok(wasm) => Ok(wasm.into_owned().into()),
        Err(error) => Err(CliError::Text { file: path.display().to_string(), why: error.to_string() }),
    }
}

/// What a program that is run from a file finds as its own name: that of the file, without its folder.
pub(super) fn argv0(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

/// The name that a file suggests for its program: the file's own without the ending.
pub(super) fn stem(path: &Path) -> Option<&str> {
    if path == Path::new("-") { None } else { path.file_stem()?.to_str() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn argv0_is_the_name_of_the_file_with_its_ending() {
        for (path, expected) in [("hello.wasm", "hello.wasm"), ("./a/b.wat", "b.wat"), ("/x/no-ending", "no-ending")] {
            assert_eq!(argv0(Path::new(path)), expected);
        }
    }

    #[track_caller]
    fn check(word: &str, daemon_named: bool, expected: &Target) {
        assert_eq!(Target::of(OsStr::new(word), daemon_named).unwrap(), *expected, "{word}");
    }

    #[test]
    fn files_are_told_from_handlers() {
        let handler = |name: &str| Target::Handler(name.into());
        let file = |path: &str| Target::File(path.into());
        check("wc", false, &handler("wc"));
        check("./wc", true, &file("./wc"));
        check("no-such-file.wasm", false, &file("no-such-file.wasm"));
        check("no-such-file.wasm", true, &handler("no-such-file.wasm"));
        let there = tempfile::Builder::new().suffix(".wat").tempfile().unwrap();
        let path = there.path().to_str().unwrap();
        check(path, true, &file(path));
    }

    #[test]
    fn text_becomes_binary_and_the_rest_stays() {
        let binary = to_binary(Path::new("a"), b" ;; text\n (module)".to_vec()).unwrap();
        assert_eq!(&binary[..], b"\0asm\x01\0\0\0");
        assert_eq!(to_binary(Path::new("a.wat"), binary.to_vec()).unwrap(), binary);
        assert_eq!(&to_binary(Path::new("a.wasm"), b"\x7fELF".to_vec()).unwrap()[..], b"\x7fELF");
        let error = to_binary(Path::new("a.wat"), b"(module (nonsense))".to_vec()).unwrap_err().to_string();
        assert!(error.contains("a.wat:1:10"), "{error}");
        assert!(to_binary(Path::new("a.wat"), b"\xff".to_vec()).is_err());
    }

    #[test]
    fn a_file_suggests_a_name() {
        assert_eq!(stem(Path::new("/x/wc.wasm")), Some("wc"));
        assert_eq!(stem(Path::new("a.b.wat")), Some("a.b"));
        assert_eq!(stem(Path::new("-")), None);
    }
}
