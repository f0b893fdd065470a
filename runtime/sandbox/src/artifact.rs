//! Artifacts: compiled code on its way from the child to the engine. The one file with `unsafe`.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};

use capstan_engine::handler::Kind;
use rustix::fs::{MemfdFlags, SealFlags};
use sha2::{Digest as _, Sha256};
use wasmtime::component::Component;
use wasmtime::{Engine, Module};

use super::LoadError;

/// Compiled code in a sealed file of memory: from here on nobody can change a byte of it, this process included.
#[derive(Debug)]
pub(super) struct Artifact {
    file: File,
    kind: Kind,
}

/// What the child says of the code it made.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
pub(super) struct Receipt {
    pub(super) fingerprint: String,
    pub(super) sha256: Vec<u8>,
}

pub(super) enum Compiled {
    Module(Module),
    Component(Component),
}

/// An unnamed file of memory that can be sealed.
pub(super) fn memory_file(name: &str) -> io::Result<File> {
    let fd: OwnedFd = rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    Ok(File::from(fd))
}

impl Receipt {
    /// For code made with what `fingerprint` says.
    pub(super) fn new(fingerprint: String, code: &[u8]) -> Self {
        Self { fingerprint, sha256: Sha256::digest(code).to_vec() }
    }
}

/// A memory file that holds `bytes`, to be read from their beginning.
pub(super) fn filled(name: &str, bytes: &[u8]) -> io::Result<File> {
    let mut file = memory_file(name)?;
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file)
}

impl Artifact {
    /// What a child compiled into `file`. Sealed first and checked after, so that what was checked is what is loaded.
    pub(super) fn compiled(file: File, kind: Kind, receipt: &Receipt, fingerprint: &str) -> Result<Self, LoadError> {
        let artifact = Self::seal(file, kind)?;
        let code = artifact.code().map_err(|error| unavailable(&error))?;
        if receipt.fingerprint != fingerprint || receipt.sha256 != Sha256::digest(&code).as_slice() {
            return Err(LoadError::Unavailable("compiled code is not what the compiler says it made".to_owned()));
        }
        Ok(artifact)
    }

    /// What this daemon or an earlier one kept, proved by [`Artifacts::get`](capstan_store::Artifacts::get).
    pub(super) fn authentic(code: &[u8], kind: Kind) -> Result<Self, LoadError> {
        Self::seal(filled("artifact", code).map_err(|error| unavailable(&error))?, kind)
    }

    /// The code itself.
    pub(super) fn code(&self) -> io::Result<Vec<u8>> {
        let mut file = &self.file;
        let mut code = Vec::new();
        file.rewind()?;
        file.read_to_end(&mut code)?;
        Ok(code)
    }

    fn seal(file: File, kind: Kind) -> Result<Self, LoadError> {
        let seals = SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
        rustix::fs::fcntl_add_seals(&file, seals).map_err(|error| unavailable(&error.into()))?;
        Ok(Self { file, kind })
    }

    /// Maps the code into `engine`.
    #[expect(unsafe_code, reason = "loading native code is the one thing that cannot be checked by types")]
    pub(super) fn load(&self, engine: &Engine) -> Result<Compiled, LoadError> {
        let path = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        // SAFETY: the bytes are native code that the library trusts blindly, so they must be its own and unmodified. `Artifact` has
        // two makers. `compiled`: they were written by a child of this daemon that runs this very binary, into a file without a name
        // that only the two ever held; the child is dead; their digest is the one the child gave, and the fingerprint says that its
        // version, configuration and target are those of `engine`. `authentic`: they proved themselves under the key of the data
        // folder, for this program and this fingerprint. In both, the file was sealed against any change before it was checked or
        // after it was filled by us alone, and is mapped as it is.
        let loaded = unsafe {
            match self.kind {
                Kind::Component => Component::deserialize_file(engine, path).map(Compiled::Component),
                Kind::Module | Kind::Native => Module::deserialize_file(engine, path).map(Compiled::Module),
            }
        };
        // The engine checks a program's fixed needs against the sizes of its pools here.
        loaded.map_err(|error| LoadError::TooComplex(error.root_cause().to_string()))
    }
}

fn unavailable(error: &io::Error) -> LoadError {
    LoadError::Unavailable(format!("cannot seal compiled code: {error}"))
}
