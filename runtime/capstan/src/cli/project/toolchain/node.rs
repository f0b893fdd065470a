//! JavaScript, TypeScript and AssemblyScript: the `build` script of package.json, with the compilers that it pins.

use super::probe;
use super::steps::{Artifact, Plan, Sources, Step};
use crate::cli::project::error::ProjectError;
use crate::cli::project::language::Language;

const OLDEST: &str = "20.0";
const INSTALL: &str = "Install Node.js from https://nodejs.org/en/download; npm comes with it";

pub(super) fn plan(language: Language, sources: &Sources<'_>) -> Result<Plan, ProjectError> {
    let project = sources.project;
    let missing = |what: &str| ProjectError::MissingTool {
        what: format!("{what}, which builds {}", language.name()),
        install: INSTALL.to_owned(),
    };
    let version = probe::output(&project.path, &["node", "--version"]).ok_or_else(|| missing("Node.js"))?;
    probe::check_version("Node.js", &version, OLDEST, INSTALL)?;
    probe::output(&project.path, &["npm", "--version"]).ok_or_else(|| missing("npm"))?;
    let mut steps = Vec::new();
    if !project.dir.is_dir("node_modules") {
        // With a lock file, exactly its versions.
        let install = if project.dir.is_file("package-lock.json") { "ci" } else { "install" };
        steps.push(Step::new(["npm", install, "--no-audit", "--no-fund"]));
    }
    let step = Step::new(["npm", "run", "build"]);
    let flags = &project.tables.build.flags;
    steps.push(if flags.is_empty() { step } else { step.args(["--"]).args(flags) });
    Ok(Plan { steps, artifact: Artifact::File(project.output()) })
}
