//! [`Artifact`]: compiled code between the child that compiled it and the engine that runs it. This is the only file with `unsafe`.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};

use capstan_engine::handler::Kind;
use rustix::fs::{MemfdFlags, SealFlags};
use sha2::{Digest as _, Sha256};
use wasmtime::component::Component;
use wasmtime::{Engine, Module};

use super::LoadError;

/// Compiled code in a sealed memory file: no process can change a byte of it, not even this one.
#[derive(Debug)]
pub(super) struct Artifact {
    file: File,
    kind: Kind,
}

/// Describes the code that a child made.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
pub(super) struct Receipt {
    /// The fingerprint of the engine that compiled.
    pub(super) fingerprint: String,
    pub(super) sha256: Vec<u8>,
}

/// Code that an engine has loaded.
pub(super) enum Compiled {
    Module(Module),
    Component(Component),
}

/// Creates an empty memory file, which can be sealed.
pub(super) fn memory_file(name: &str) -> io::Result<File> {
    let fd: OwnedFd = rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    Ok(File::from(fd))
}

/// Creates a memory file with the content `bytes`, positioned at its start.
pub(super) fn filled_memory_file(name: &str, bytes: &[u8]) -> io::Result<File> {
    let mut file = memory_file(name)?;
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file)
}

impl Receipt {
    /// Creates the receipt for `code`, which an engine with `fingerprint` compiled.
    pub(super) fn new(fingerprint: String, code: &[u8]) -> Self {
        Self { fingerprint, sha256: Sha256::digest(code).to_vec() }
    }
}

impl Artifact {
    /// Creates the artifact from the code that a child wrote to `file`. Seals the file before it checks the code against `receipt` and
    /// `fingerprint`, so that the engine loads exactly what was checked.
    pub(super) fn from_child(file: File, kind: Kind, receipt: &Receipt, fingerprint: &str) -> Result<Self, LoadError> {
        let artifact = Self::seal(file, kind)?;
        let code = artifact.code().map_err(|error| cannot_seal(&error))?;
        if receipt.fingerprint != fingerprint || receipt.sha256 != Sha256::digest(&code).as_slice() {
            return Err(LoadError::Unavailable("the compiled code differs from what the compiler reported".to_owned()));
        }
        Ok(artifact)
    }

    /// Creates the artifact from code that this process or an earlier one stored. `copy` is
    /// [`Artifacts::copy_to`](capstan_store::Artifacts::copy_to): it writes the code, and returns whether it has verified it. Returns `None` if
    /// it has not.
    pub(super) fn from_store(kind: Kind, copy: impl FnOnce(&File) -> bool) -> Option<Self> {
        let file = memory_file("artifact").ok()?;
        if copy(&file) { Self::seal(file, kind).ok() } else { None }
    }

    /// Returns the code.
    pub(super) fn code(&self) -> io::Result<Vec<u8>> {
        let mut file = &self.file;
        let mut code = Vec::new();
        file.rewind()?;
        file.read_to_end(&mut code)?;
        Ok(code)
    }

    fn seal(file: File, kind: Kind) -> Result<Self, LoadError> {
        let seals = SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
        rustix::fs::fcntl_add_seals(&file, seals).map_err(|error| cannot_seal(&error.into()))?;
        Ok(Self { file, kind })
    }

    /// Maps the code into `engine`.
    ///
    /// # Errors
    /// [`LoadError::TooComplex`] if the program needs more than a slot of the engine's pools has.
    #[expect(unsafe_code, reason = "types cannot check that native code is safe to load")]
    pub(super) fn load(&self, engine: &Engine) -> Result<Compiled, LoadError> {
        let path = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        // SAFETY: wasmtime trusts the native code in the file without checks, so the code must be wasmtime's own and unmodified. An
        // `Artifact` has two constructors:
        // - `from_child`: a child of this daemon, which runs the same executable, wrote the code to a file without a name that only the two
        //   processes had open. The child has ended, the digest of the code is the one that it reported, and the fingerprint shows that
        //   version, configuration and target are those of `engine`.
        // - `from_store`: the code was verified with the key of the data directory, for this program and this fingerprint. The directory is
        //   that of the daemon, or the cache of the user, and no other user can enter it.
        // In both cases the file was sealed against changes, before the code was checked or after only this process had filled the file,
        // and it is mapped without a copy.
        let loaded = unsafe {
            match self.kind {
                Kind::Component => Component::deserialize_file(engine, path).map(Compiled::Component),
                Kind::Module | Kind::Native => Module::deserialize_file(engine, path).map(Compiled::Module),
            }
        };
        loaded.map_err(|error| LoadError::TooComplex(error.root_cause().to_string()))
    }
}

fn cannot_seal(error: &io::Error) -> LoadError {
    LoadError::Unavailable(format!("cannot seal compiled code: {error}"))
}
