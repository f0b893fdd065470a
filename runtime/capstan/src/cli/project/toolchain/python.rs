//! Python: componentize-py, which packs CPython and the modules of the job into a component.

use super::probe;
use super::steps::{Artifact, Plan, Sources, Step};
use crate::cli::project::error::ProjectError;

const COMMANDS: [&[&str]; 2] = [&["componentize-py"], &["python3", "-m", "componentize_py"]];
const OLDEST: &str = "0.25";
const INSTALL: &str = "Install it with: pip install componentize-py==0.25.1";

/// The module with the class `Run`, without its extension.
const MODULE: &str = "app";

pub(super) fn plan(sources: &Sources<'_>) -> Result<Plan, ProjectError> {
    let project = sources.project;
    let found = probe::first(&project.path, &COMMANDS, "--version");
    let (command, version) = found.ok_or_else(|| ProjectError::MissingTool {
        what: "componentize-py, which compiles Python".to_owned(),
        install: INSTALL.to_owned(),
    })?;
    probe::check_version("componentize-py", &version, OLDEST, INSTALL)?;
    if !project.dir.is_file(format!("{MODULE}.py")) || !project.dir.is_dir("wit") {
        let reason =
            format!("a job in Python needs {MODULE}.py and the directory wit; see `capstan new --lang python`");
        return Err(ProjectError::UnknownLanguage { dir: project.shown.clone(), reason });
    }
    let step = Step::new(command).args(["-q", "-d", "wit", "-w", "job", "componentize", MODULE]);
    let step = step.args(&project.tables.build.flags).args(["-o".as_ref(), sources.target.as_os_str()]);
    Ok(Plan { steps: vec![step], artifact: Artifact::File(sources.target.to_owned()) })
}
