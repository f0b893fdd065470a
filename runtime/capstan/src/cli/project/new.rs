//! `capstan new`: creates the directory of a job from a template.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};

use super::error::ProjectError;
use super::folder::Project;
use super::language::Language;
use super::templates::{CASES, Form, Template};
use crate::cli::error::CliError;
use crate::cli::{output, paths, program};

/// Names that Rust or cargo does not accept for a program.
const RESERVED: [&str; 12] =
    ["alloc", "build", "core", "deps", "examples", "fn", "incremental", "mod", "proc_macro", "self", "std", "test"];

/// The command line of `capstan new`.
#[derive(Debug, Args)]
pub(in crate::cli) struct New {
    /// Language of the job [default: list the languages]
    #[arg(long, value_name = "LANGUAGE")]
    lang: Option<Language>,
    /// Create a program that answers HTTP requests [default: a command]
    #[arg(long, conflicts_with_all = ["script", "list"])]
    http: bool,
    /// Create a script, which an installed runtime runs [default: a program to build]
    #[arg(long, conflicts_with = "list")]
    script: bool,
    /// List the languages [default: create a directory]
    #[arg(long, conflicts_with_all = ["lang", "name"])]
    list: bool,
    /// Print the result as JSON [default: text]
    #[arg(long)]
    json: bool,
    /// Directory to create. Its last part becomes the name of the job
    #[arg(value_name = "NAME")]
    name: Option<PathBuf>,
}

impl New {
    /// Creates a directory, or lists the languages.
    ///
    /// # Errors
    /// [`CliError`]
    pub(in crate::cli) fn run(self) -> Result<ExitCode, CliError> {
        let form = match (self.http, self.script) {
            (true, _) => Form::Http,
            (_, true) => Form::Script,
            _ => Form::Command,
        };
        match (self.lang, self.name) {
            (None, None) => list(self.json)?,
            (None, Some(_)) => return Err(ProjectError::NoTemplate.into()),
            (Some(language), None) => return Err(ProjectError::NoName(language.name()).into()),
            (Some(language), Some(path)) => create(language, form, &path, self.json)?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn list(json: bool) -> Result<(), CliError> {
    let all = || Form::ALL.into_iter().flat_map(|form| form.templates().iter().map(move |template| (form, template)));
    if json {
        let describe = |(form, template): (Form, &Template)| {
            json!({
                "lang": template.language.name(), "option": form.option(), "title": template.title,
                "toolchain": template.toolchain,
            })
        };
        return output::print_json(&Value::from_iter(all().map(describe)));
    }
    let line = |(form, template): (Form, &Template)| {
        let words = [Some(template.language.name()), form.option()].into_iter().flatten().collect::<Vec<_>>().join(" ");
        format!("{words:<20}{}\n", template.toolchain)
    };
    output::print(all().map(line).collect::<String>().as_bytes())
}

fn create(language: Language, form: Form, path: &Path, json: bool) -> Result<(), CliError> {
    let template = form.find(language).ok_or_else(|| {
        let languages = form.templates().iter().map(|template| template.language.name()).collect();
        ProjectError::NoTemplateOfForm { option: form.option().unwrap_or_default(), languages }
    })?;
    let name = handler_name(path)?;
    paths::create_empty_dir(path)?.then_some(()).ok_or_else(|| ProjectError::NotEmpty(path.to_owned()))?;
    let project = Project::open(path)?;
    let files = files(form, template, &name);
    for (file, content) in &files {
        project.write(Path::new(file), content.as_bytes())?;
    }
    let shown = path.to_string_lossy();
    if json {
        let files: Vec<_> = files.iter().map(|(file, _)| file.as_str()).collect();
        return output::print_json(&json!({"name": name, "dir": shown, "lang": language.name(), "files": files}));
    }
    let next = if form == Form::Http { "build" } else { "test" };
    output::print_note(format_args!("created the job {name} in {shown}; next: capstan {next} {}", quoted(&shown)));
    Ok(())
}

/// Returns the paths and contents of the files of a job.
fn files(form: Form, template: &Template, name: &str) -> Vec<(String, String)> {
    let fill = |text: &str| {
        [
            ("cases", CASES),
            ("name", name),
            ("package", &package_name(name)),
            ("lang", template.language.name()),
            ("language", template.title),
            ("toolchain", template.toolchain),
            ("source", template.source),
            ("memory", template.memory),
        ]
        .iter()
        .fold(text.to_owned(), |text, (key, value)| text.replace(&format!("{{{{{key}}}}}"), value))
    };
    let ignored = ["/target"].iter().chain(template.ignored).map(|line| format!("{line}\n")).collect();
    let written = form.shared().iter().chain(template.files).map(|(file, content)| ((*file).to_owned(), fill(content)));
    written.chain([(".gitignore".to_owned(), ignored)]).collect()
}

/// Returns the name of the handler for a job in `path`.
///
/// # Errors
/// [`ProjectError::Name`]
fn handler_name(path: &Path) -> Result<String, ProjectError> {
    let invalid = |reason| ProjectError::Name { name: path.to_string_lossy().into_owned(), reason };
    let name = path.file_name().ok_or_else(|| invalid("it has no last part"))?;
    let name = name.to_str().ok_or_else(|| invalid("it is not UTF-8"))?;
    if name.contains(char::is_control) {
        return Err(invalid("it contains a control character"));
    }
    if name.starts_with('-') || name.trim() != name {
        return Err(invalid("it starts with - or a space, or ends with a space"));
    }
    if !name.contains(|c: char| c.is_ascii_alphanumeric()) {
        return Err(invalid("the name of a handler needs an ASCII letter or digit"));
    }
    Ok(program::handler_name(format!("{name}.wasm").as_ref()))
}

/// Returns a name that each language accepts for a package: letters, digits, `-` and `_` in lower case, with a letter first.
fn package_name(name: &str) -> String {
    let package = name.to_ascii_lowercase().replace('.', "-");
    let is_fine = package.starts_with(|c: char| c.is_ascii_alphabetic()) && !RESERVED.contains(&package.as_str());
    if is_fine { package } else { format!("job-{package}") }
}

/// Quotes a path for a shell if it needs quotes.
fn quoted(path: &str) -> String {
    let is_plain = path.chars().all(|c| c.is_alphanumeric() || "/._-".contains(c));
    if is_plain { path.to_owned() } else { format!("'{}'", path.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use capstan_core::manifest::Manifest;

    use super::super::strip::daemon_manifest;
    use super::super::tables::Tables;
    use super::*;

    #[test]
    fn templates_are_filled_and_valid() {
        let all = Form::ALL.into_iter().flat_map(|form| form.templates().iter().map(move |template| (form, template)));
        for (form, template) in all {
            let files = files(form, template, "my-job");
            for (file, content) in &files {
                assert!(!content.contains("{{"), "{file} of {} has a placeholder left", template.title);
            }
            let content = |name: &str| &files.iter().find(|(file, _)| file == name).unwrap().1;
            let tables = Tables::parse(content("job.toml")).unwrap();
            let (language, cases) = match form {
                Form::Command => (Some(template.language), 5),
                Form::Http => (Some(template.language), 0),
                Form::Script => (None, 5),
            };
            assert_eq!((tables.build.lang, tables.test.len()), (language, cases));
            let manifest = Manifest::parse(&daemon_manifest(content("job.toml"))).unwrap();
            assert_eq!(manifest.name.as_deref(), Some("my-job"));
            let from = (form == Form::Script).then(|| template.language.name());
            assert_eq!(manifest.program.from.as_deref(), from);
            assert!(files.iter().any(|(file, _)| file == template.source), "{}", template.title);
            assert!(content("README.md").lines().count() >= 10);
        }
    }

    #[test]
    fn directory_names_become_names_of_handlers_and_packages() {
        for (path, handler, package) in [
            ("hello", "hello", "hello"),
            ("/a/b/My Job", "My-Job", "my-job"),
            ("größe", "gr--e", "gr--e"),
            ("2nd.try", "2nd.try", "job-2nd-try"),
            ("test", "test", "job-test"),
        ] {
            let name = handler_name(Path::new(path)).unwrap();
            assert_eq!((name.as_str(), package_name(&name).as_str()), (handler, package), "{path}");
        }
    }

    #[test]
    fn unusable_directory_names_are_rejected() {
        for path in ["", "/", "..", "a/..", "a\nb", "-v", "日本", " a", "a "] {
            assert!(matches!(handler_name(Path::new(path)), Err(ProjectError::Name { .. })), "{path:?}");
        }
    }

    #[test]
    fn paths_are_quoted_where_a_shell_needs_it() {
        assert_eq!(["a/b-c", "größe", "a b", "it's"].map(quoted), ["a/b-c", "größe", "'a b'", r"'it'\''s'"]);
    }
}
