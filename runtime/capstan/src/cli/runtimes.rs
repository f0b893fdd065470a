//! The runtimes of scripts that are installed for runs in process: programs of the user, each in a directory with its manifest.
//!
//! They are in `capstan/runtimes` in XDG_DATA_HOME, else in `.local/share` in HOME:
//!
//! ```text
//! NAME/program.wasm     the program
//! NAME/manifest.toml    which scripts it runs, and how
//! NAME/installed.json   digest, size and origin
//! ```

mod error;
pub(super) mod known;

use std::io;
use std::path::PathBuf;

use cap_std::fs::Dir;
use capstan_core::manifest::{Manifest, RuntimeTable};
use capstan_store::digest;
use serde::{Deserialize, Serialize};

pub(super) use self::error::RuntimeError;
use super::environment::Environment;
use super::error::CliError;
use super::io_error::describe;
use super::{paths, random};

const PROGRAM: &str = "program.wasm";
const MANIFEST: &str = "manifest.toml";
const RECORD: &str = "installed.json";

/// An installed runtime.
#[derive(Debug)]
pub(super) struct Installed {
    pub(super) name: String,
    /// The path of its program.
    pub(super) program: PathBuf,
    pub(super) manifest: Manifest,
    pub(super) record: Record,
}

/// What was recorded when a runtime was installed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Record {
    /// The SHA-256 of the program, as `sha256:HEX`.
    pub(super) digest: String,
    /// The size of the program, in bytes.
    pub(super) size: u64,
    /// The path from which it was installed.
    pub(super) source: String,
}

impl Installed {
    /// Returns what it runs.
    pub(super) fn table(&self) -> RuntimeTable {
        self.manifest.runtime.clone().unwrap_or_default()
    }

    /// Returns all installed runtimes, in the order of their names.
    ///
    /// # Errors
    /// [`CliError`]
    pub(super) fn all(environment: &Environment) -> Result<Vec<Self>, CliError> {
        let Some((path, dir)) = open(environment)? else { return Ok(Vec::new()) };
        let mut names = Vec::new();
        for entry in dir.entries().map_err(paths::file_error(&path))? {
            let name = entry.map_err(paths::file_error(&path))?.file_name();
            names.extend(name.into_string().ok().filter(|name| !name.starts_with('.')));
        }
        names.sort();
        names.into_iter().map(|name| read(&path, &dir, name)).collect()
    }

    /// Returns the first runtime for scripts with `extension`, which is written without a dot.
    ///
    /// # Errors
    /// [`CliError`]
    pub(super) fn for_extension(extension: &str, environment: &Environment) -> Result<Option<Self>, CliError> {
        Ok(Self::all(environment)?.into_iter().find(|runtime| runtime.table().serves(extension)))
    }

    /// Returns the runtime `name`.
    ///
    /// # Errors
    /// [`RuntimeError::Missing`], [`CliError`].
    pub(super) fn named(name: &str, environment: &Environment) -> Result<Self, CliError> {
        let found = Self::all(environment)?.into_iter().find(|runtime| runtime.name == name);
        found.ok_or_else(|| RuntimeError::Missing { name: name.to_owned() }.into())
    }

    /// Installs a runtime, and replaces the one that has the name. If anything fails, nothing changes.
    ///
    /// # Errors
    /// [`CliError`]
    pub(super) fn add(
        name: &str,
        wasm: &[u8],
        manifest: &Manifest,
        source: String,
        environment: &Environment,
    ) -> Result<Self, CliError> {
        let path = path(environment)?;
        let root = paths::create_dir_all(&path)?;
        let record = Record { digest: digest(wasm), size: wasm.len() as u64, source };
        let unfinished = format!(".unfinished-{:016x}", random::u64());
        let write = || -> io::Result<()> {
            root.create_dir(&unfinished)?;
            let dir = root.open_dir(&unfinished)?;
            dir.write(PROGRAM, wasm)?;
            dir.write(MANIFEST, toml::to_string(manifest).expect("plain data"))?;
            dir.write(RECORD, serde_json::to_string_pretty(&record).expect("plain data"))?;
            rustix::fs::syncfs(dir.open(".")?)?;
            remove_dir(&root, name)?;
            root.rename(&unfinished, &root, name)
        };
        write().map_err(|error| {
            // It is in no list, and the next installation does not need its name.
            let _ = root.remove_dir_all(&unfinished);
            paths::file_error(&path)(error)
        })?;
        read(&path, &root, name.to_owned())
    }

    /// Removes the runtime `name`.
    ///
    /// # Errors
    /// [`RuntimeError::Unknown`], [`CliError::File`].
    pub(super) fn remove(name: &str, environment: &Environment) -> Result<(), CliError> {
        let unknown = || RuntimeError::Unknown(name.to_owned());
        let (path, root) = open(environment)?.ok_or_else(unknown)?;
        if remove_dir(&root, name).map_err(paths::file_error(&path))? { Ok(()) } else { Err(unknown().into()) }
    }
}

/// Removes the directory `name`. Nobody finds half of it. Returns whether it existed.
fn remove_dir(root: &Dir, name: &str) -> io::Result<bool> {
    let removed = format!(".removed-{:016x}", random::u64());
    match root.rename(name, root, &removed) {
        Ok(()) => root.remove_dir_all(&removed).map(|()| true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn read(path: &std::path::Path, root: &Dir, name: String) -> Result<Installed, CliError> {
    let damaged = |reason: String| RuntimeError::Damaged { name: name.clone(), reason };
    let dir = root.open_dir(&name).map_err(|error| damaged(describe(&error)))?;
    let text = |file: &str| dir.read_to_string(file).map_err(|error| damaged(format!("{file}: {}", describe(&error))));
    let manifest = Manifest::parse(&text(MANIFEST)?).map_err(|error| damaged(error.to_string()))?;
    let record = serde_json::from_str(&text(RECORD)?).map_err(|error| damaged(error.to_string()))?;
    Ok(Installed { program: path.join(&name).join(PROGRAM), name, manifest, record })
}

/// Returns the path of the directory of all runtimes.
fn path(environment: &Environment) -> Result<PathBuf, RuntimeError> {
    let named = |name: &str| environment.non_empty(name).map(PathBuf::from);
    let of_user = named("XDG_DATA_HOME").filter(|path| path.is_absolute());
    let of_user = of_user.or_else(|| named("HOME").map(|home| home.join(".local/share")));
    of_user.map(|data| data.join("capstan/runtimes")).ok_or(RuntimeError::NoDataHome)
}

/// Opens the directory of all runtimes. `None` if none was ever installed.
fn open(environment: &Environment) -> Result<Option<(PathBuf, Dir)>, CliError> {
    let path = match path(environment) {
        // Without a home, nobody expects runtimes.
        Err(RuntimeError::NoDataHome) => return Ok(None),
        path => path?,
    };
    match paths::open_dir(&path) {
        Ok(dir) => Ok(Some((path, dir))),
        Err(CliError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
