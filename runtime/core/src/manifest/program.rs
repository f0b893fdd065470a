//! [`ProgramTable`]: which program a handler runs, and the arguments that its runs always get. [`RuntimeTable`]: what makes a handler the
//! runtime of scripts.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::error::ManifestError;

/// Which program a handler runs, and the arguments that its runs always get.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "Program")]
pub struct ProgramTable {
    /// The handler whose program this handler shares, instead of a program of its own. The program that it has at the push is used from
    /// then on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Arguments before those of the caller. Default: with `from` and files, what the runtime needs to run the script, else none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub args: Option<Vec<String>>,
}

/// What makes a handler the runtime of scripts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "Runtime")]
pub struct RuntimeTable {
    /// The extensions of the scripts that it runs, such as `.py`.
    pub extensions: Vec<String>,
    /// The licence of the program, as an SPDX expression such as `PSF-2.0`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub licence: Option<String>,
    /// Arguments before the path of the script.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// The names of the file that starts a script of several files. The first one that exists counts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub main: Vec<String>,
}

impl ProgramTable {
    pub(super) fn is_default(&self) -> bool {
        *self == Self::default()
    }

    pub(super) fn check(&self) -> Result<(), ManifestError> {
        check_args("program.args", self.args.as_deref().unwrap_or_default())
    }
}

impl RuntimeTable {
    /// Returns whether it runs scripts whose file has the extension `extension`, which is written without a dot.
    pub fn serves(&self, extension: &str) -> bool {
        self.extensions.iter().any(|own| own.strip_prefix('.') == Some(extension))
    }

    /// Returns the arguments that run a script of the files `names`, the paths of all of its files: those of the runtime, and the path of the
    /// script below `directory`. `None` if no file is named as the first of a script.
    pub fn script_args(&self, directory: &str, names: &[&str]) -> Option<Vec<String>> {
        let main = match names {
            [only] => only,
            _ => self.main.iter().map(String::as_str).find(|main| names.contains(main))?,
        };
        Some(self.args.iter().cloned().chain([format!("{directory}/{main}")]).collect())
    }

    pub(super) fn check(&self) -> Result<(), ManifestError> {
        for extension in &self.extensions {
            let name = extension.strip_prefix('.').unwrap_or_default();
            if name.is_empty() || name.contains(['.', '/', '\0']) {
                let message =
                    format!("runtime.extensions: {extension:?} is not a dot and an extension, such as \".py\"");
                return Err(ManifestError(message));
            }
        }
        check_args("runtime.args", &self.args)?;
        check_args("runtime.main", &self.main)
    }
}

fn check_args(key: &str, args: &[String]) -> Result<(), ManifestError> {
    if args.iter().any(|arg| arg.contains('\0')) {
        return Err(ManifestError(format!("{key} contains NUL, which an argument of a guest cannot contain")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn script_args_name_the_only_file_or_the_first_known_one() {
        let runtime = RuntimeTable {
            args: vec!["-B".into()],
            main: vec!["main.py".into(), "__main__.py".into()],
            ..RuntimeTable::default()
        };
        let args = |names: &[&str]| runtime.script_args("/app", names);
        let expected = |script: &str| Some(vec!["-B".to_owned(), script.to_owned()]);
        assert_eq!(args(&["a b.py"]), expected("/app/a b.py"));
        assert_eq!(args(&["__main__.py", "main.py"]), expected("/app/main.py"));
        assert_eq!(args(&["__main__.py", "x.py"]), expected("/app/__main__.py"));
        assert_eq!(args(&["x.py", "y.py"]), None);
        assert_eq!(args(&[]), None);
    }

    #[test]
    fn runtime_serves_its_extensions() {
        let runtime = RuntimeTable { extensions: vec![".js".into(), ".mjs".into()], ..RuntimeTable::default() };
        assert_eq!(["js", "mjs", "py", "", ".js"].map(|own| runtime.serves(own)), [true, true, false, false, false]);
    }
}
