//! Zig, from its own package or from that of PyPI.

use super::probe;
use super::steps::{Artifact, Plan, Sources, Step};
use crate::cli::project::error::ProjectError;
use crate::cli::project::language::source_names;

/// How to call Zig. The second is the package `ziglang` of PyPI.
pub(super) const COMMANDS: [&[&str]; 2] = [&["zig"], &["python3", "-m", "ziglang"]];

const OLDEST: &str = "0.17";
const INSTALL: &str = "Install Zig from https://ziglang.org/download, or with: pip install ziglang";

pub(super) fn plan(sources: &Sources<'_>) -> Result<Plan, ProjectError> {
    let project = sources.project;
    let found = probe::first(&project.path, &COMMANDS, "version");
    let (command, version) = found
        .ok_or_else(|| ProjectError::MissingTool { what: "a Zig compiler".to_owned(), install: INSTALL.to_owned() })?;
    probe::check_version("Zig", &version, OLDEST, INSTALL)?;
    let names = source_names(&project.dir);
    let main = ["src/main.zig", "main.zig"].into_iter().find(|main| names.iter().any(|name| name == main));
    let Some(main) = main else {
        let reason = "it has neither src/main.zig nor main.zig".to_owned();
        return Err(ProjectError::UnknownLanguage { dir: project.shown.clone(), reason });
    };
    let mut target = std::ffi::OsString::from("-femit-bin=");
    target.push(sources.target);
    let step = Step::new(command).args(["build-exe", main, "-target", "wasm32-wasi", "-O", "ReleaseSafe"]);
    let step = step.args(["-fstrip"]).args([target]).args(&project.tables.build.flags);
    Ok(Plan { steps: vec![step], artifact: Artifact::File(sources.target.to_owned()) })
}
