//! Scripts: which words name one, and how a runtime runs it, in process or on a daemon.

use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};

use bytes::Bytes;
use capstan_core::manifest::{Manifest, ProgramTable, RuntimeTable};
use capstan_core::mount::{APP, Mount, MountSource};
use capstan_core::policy::PolicyRequest;

use super::client::Client;
use super::environment::Environment;
use super::error::CliError;
use super::job_spec::JobSpec;
use super::local::LocalProgram;
use super::push::Parts;
use super::runtimes::{Installed, RuntimeError, known};
use super::{archive, paths, program, runtime};
use crate::daemon::open_mount;

/// Returns the path that `word` names if it is that of a script: it ends like those of a known or an installed runtime, and has a slash or
/// names a file that exists.
///
/// # Errors
/// [`CliError`] if the installed runtimes cannot be read.
pub(super) fn find(word: &OsStr, environment: &Environment) -> Result<Option<PathBuf>, CliError> {
    let path = Path::new(word);
    let Some(extension) = extension(path) else { return Ok(None) };
    let is_path = word.as_encoded_bytes().contains(&b'/') || paths::is_file(path);
    if !is_path || extension == "wasm" || extension == "wat" {
        return Ok(None);
    }
    let is_script =
        known::for_extension(extension).is_some() || Installed::for_extension(extension, environment)?.is_some();
    Ok(is_script.then(|| path.to_owned()))
}

fn extension(path: &Path) -> Option<&str> {
    path.extension()?.to_str()
}

/// Returns the installed runtime that runs `script` in process, and the mount with the script. If `files` names a directory, that is the
/// mount. What `own`, the manifest of the script, sets comes before what the runtime sets; it may also name the runtime.
///
/// # Errors
/// [`RuntimeError::NotInstalled`], [`RuntimeError::Missing`], and [`CliError`] if the script or the runtime cannot be read.
pub(super) fn local(
    script: &Path,
    files: Option<&Path>,
    own: Manifest,
    environment: &Environment,
) -> Result<(LocalProgram, Mount), CliError> {
    let extension = extension(script).unwrap_or_default();
    let runtime = match &own.program.from {
        Some(name) => Installed::named(name, environment)?,
        None => Installed::for_extension(extension, environment)?
            .ok_or_else(|| RuntimeError::NotInstalled { extension: extension.to_owned() })?,
    };
    let (mount, main) = match files {
        Some(files) => (files_mount(files)?, path_in(files, script)?),
        None => script_mount(script)?,
    };
    let args = own.program.args.or_else(|| Some(script_args(&runtime.table(), &main)));
    let mut env = runtime.manifest.env.clone();
    env.extend(&own.env);
    let name = own.name.unwrap_or_else(|| program::handler_name(script));
    let manifest = Manifest {
        argv0: own.argv0.or(runtime.manifest.argv0).or(Some(runtime.name)),
        program: ProgramTable { from: None, args },
        policy: own.policy.or(runtime.manifest.policy),
        snapshot: own.snapshot.or(runtime.manifest.snapshot),
        env,
        ..runtime.manifest
    };
    Ok((LocalProgram { file: runtime.program, name, manifest }, mount))
}

fn script_args(runtime: &RuntimeTable, main: &str) -> Vec<String> {
    runtime.script_args(APP, &[main]).expect("a script of one file starts with that file")
}

/// Opens the directory or file `path` as the files of a run.
///
/// # Errors
/// [`CliError::File`]
pub(super) fn files_mount(path: &Path) -> Result<Mount, CliError> {
    let MountSource { dir, file } = open_mount(path).map_err(paths::file_error(path))?;
    Ok(Mount::of_files(dir, file))
}

/// Returns the mount with nothing but the script, and the name of the script in it.
fn script_mount(script: &Path) -> Result<(Mount, String), CliError> {
    let mount = files_mount(script)?;
    let is_directory = || std::io::Error::from(std::io::ErrorKind::IsADirectory);
    let name = mount.file.clone().ok_or_else(|| paths::file_error(script)(is_directory()))?;
    Ok((mount, name))
}

/// Returns the path of `script` below `files`, with `/` between its components.
fn path_in(files: &Path, script: &Path) -> Result<String, CliError> {
    let outside = || CliError::ScriptOutsideFiles { script: script.to_owned(), files: files.to_owned() };
    // `./app` and `app` are the same directory.
    let plain = |path: &Path| path.components().filter(|part| *part != Component::CurDir).collect::<PathBuf>();
    let (script, files) = (plain(script), plain(files));
    let below = script.strip_prefix(&files).map_err(|_| outside())?;
    if below.components().any(|part| !matches!(part, Component::Normal(_))) {
        return Err(outside());
    }
    below.to_str().map(str::to_owned).filter(|below| !below.is_empty()).ok_or_else(outside)
}

/// Returns what pushes `script` to a daemon that has a runtime for it: a handler that shares the program of the runtime. If `files` names a
/// directory, all of it is sent.
///
/// # Errors
/// [`RuntimeError::NotOnDaemon`], and [`CliError`] if the script cannot be read.
pub(super) async fn parts(
    client: &Client,
    script: &Path,
    files: Option<&Path>,
    spec: &JobSpec,
) -> Result<Parts, CliError> {
    let extension = extension(script).unwrap_or_default();
    let runtime = runtime::on_daemon(client).await?.into_iter().find(|runtime| runtime.table.serves(extension));
    let runtime = runtime.ok_or_else(|| RuntimeError::NotOnDaemon { extension: extension.to_owned() })?;
    let args = match files {
        None => None,
        Some(files) => Some(script_args(&runtime.table, &path_in(files, script)?)),
    };
    let policy = PolicyRequest { features: spec.policy.features.clone(), ..PolicyRequest::EMPTY };
    let manifest = Manifest { policy, program: ProgramTable { from: Some(runtime.name), args }, ..Manifest::default() };
    let manifest = Bytes::from(toml::to_string(&manifest).expect("plain data"));
    let files = archive::pack(files.unwrap_or(script))?;
    Ok(Parts { wasm: None, manifest: Some(manifest), files: Some(files) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn script_lies_in_its_files() {
        let in_files = |files: &str, script: &str| path_in(Path::new(files), Path::new(script)).ok();
        for (files, script, expected) in [
            ("app", "app/main.py", Some("main.py")),
            ("./app/", "app/a b/ü.py", Some("a b/ü.py")),
            (".", "./main.py", Some("main.py")),
            (".", "main.py", Some("main.py")),
            ("/x", "/x/main.py", Some("main.py")),
            ("app", "other/main.py", None),
            ("app", "app/../main.py", None),
            ("app", "app", None),
        ] {
            assert_eq!(in_files(files, script).as_deref(), expected, "{files} {script}");
        }
    }
}
