//! Asks the programs of a toolchain for their versions.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};

use super::version::Version;
use crate::cli::project::error::ProjectError;

/// Runs a command in `dir`, without stdin. Returns its stdout, or `None` if the program does not exist or fails.
pub(super) fn output<A: AsRef<OsStr>>(dir: &Path, command: &[A]) -> Option<String> {
    let (program, args) = command.split_first()?;
    let mut command = Command::new(program);
    command.args(args).current_dir(dir).stdin(Stdio::null());
    let output = command.output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Returns the first of `commands` that works with `argument`, and what that prints.
pub(super) fn first<'a>(dir: &Path, commands: &[&[&'a str]], argument: &'a str) -> Option<(Vec<&'a str>, String)> {
    commands.iter().find_map(|command| {
        let printed = output(dir, &[*command, &[argument]].concat())?;
        Some((command.to_vec(), printed))
    })
}

/// Fails if the version in `printed` is older than `needed`. A text without a version passes: the toolchain itself will tell.
///
/// # Errors
/// [`ProjectError::OldTool`]
pub(super) fn check_version(
    what: &'static str,
    printed: &str,
    needed: &'static str,
    install: &str,
) -> Result<(), ProjectError> {
    match Version::find(printed) {
        Some(found) if Some(found) < Version::find(needed) => {
            Err(ProjectError::OldTool { what, found: found.to_string(), needed, install: install.to_owned() })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_older_versions_are_rejected() {
        let check = |printed: &str| check_version("Go", printed, "1.21", "install it");
        assert!(check("go1.21").is_ok() && check("go2.0").is_ok() && check("devel").is_ok());
        let error = check("go1.9").unwrap_err().to_string();
        assert_eq!(error, "Go is too old: this is version 1.9, and 1.21 or newer is needed\ninstall it");
    }

    #[test]
    fn missing_and_failing_programs_print_nothing() {
        let dir = Path::new("/");
        assert_eq!(output(dir, &["no-such-program-anywhere"]), None);
        assert_eq!(output(dir, &["false"]), None);
        assert_eq!(first(dir, &[&["false"], &["echo", "a"]], "b"), Some((vec!["echo", "a"], "a b\n".to_owned())));
    }
}
