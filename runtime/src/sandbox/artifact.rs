//! Artifacts: compiled code on its way from the child to the engine. The one file with `unsafe`.

use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::os::fd::{AsRawFd as _, OwnedFd};

use rustix::fs::{MemfdFlags, SealFlags};
use sha2::{Digest as _, Sha256};
use wasmtime::component::Component;
use wasmtime::{Engine, Module};

use super::{LoadError, profile};
use crate::handler::Kind;

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
    /// For code made by `engine`.
    pub(super) fn new(engine: &Engine, code: &[u8]) -> Self {
        Self { fingerprint: profile::fingerprint(engine), sha256: Sha256::digest(code).to_vec() }
    }
}

impl Artifact {
    /// Seals `file` first and then checks it against `receipt`, so that what was checked is what is loaded.
    pub(super) fn seal(mut file: File, kind: Kind, receipt: &Receipt, engine: &Engine) -> Result<Self, LoadError> {
        let unavailable = |error: io::Error| LoadError::Unavailable(format!("cannot seal compiled code: {error}"));
        let seals = SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
        rustix::fs::fcntl_add_seals(&file, seals).map_err(|error| unavailable(error.into()))?;
        let mut code = Vec::new();
        file.rewind().map_err(unavailable)?;
        file.read_to_end(&mut code).map_err(unavailable)?;
        if receipt.fingerprint != profile::fingerprint(engine) || receipt.sha256 != Sha256::digest(&code).as_slice() {
            return Err(LoadError::Unavailable("compiled code is not what the compiler says it made".to_owned()));
        }
        Ok(Self { file, kind })
    }

    /// Maps the code into `engine`.
    #[expect(unsafe_code, reason = "loading native code is the one thing that cannot be checked by types")]
    pub(super) fn load(&self, engine: &Engine) -> Result<Compiled, LoadError> {
        let path = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        // SAFETY: the bytes are native code that the library trusts blindly, so they must be its own and unmodified. They were
        // written by a child of this daemon that runs this very binary, into a file without a name that only the two ever held; the
        // child is dead; the file is sealed against writing, growing and shrinking, and its digest was checked after sealing; the
        // fingerprint says that the child's version, configuration and target are those of `engine`. `Artifact` has no other maker.
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
