//! `capstan push`: makes a program file, or a script, a handler of the daemon.

mod form;
mod manifest_file;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Instant;

use clap::Args;
use hyper::Method;
use hyper::header::CONTENT_TYPE;
use percent_encoding::utf8_percent_encode;
use serde_json::Value;

pub(super) use self::form::Parts;
use self::manifest_file::ManifestFile;
use super::client::{Client, URL_ENCODE_SET, request};
use super::error::CliError;
use super::{archive, format, output, program, random, upload};

/// The command line of `capstan push`.
#[derive(Debug, Args)]
pub(super) struct Push {
    /// Program file, as WebAssembly binary (.wasm) or text (.wat). `-` is stdin
    ///
    /// NAME is the name of the handler [default: `name` of the manifest, else the file name without its extension].
    #[arg(value_name = "[NAME=]FILE.wasm")]
    source: Option<Source>,
    /// With --from: script, or directory with a script. The first argument is the name of the handler then
    #[arg(value_name = "SCRIPT|DIR")]
    script: Option<PathBuf>,
    /// Handler whose program this one shares, such as a runtime; nothing is compiled [default: `from` of the manifest]
    ///
    /// The program that it has now is used from then on. Then FILE is no program but a script, or a directory of files.
    #[arg(long, value_name = "HANDLER")]
    from: Option<String>,
    /// Directory, or one file, that the runs of the handler find at /app, read-only [default: `files` of the manifest]
    // `--files` is a limit of `run`.
    #[arg(long = "app", value_name = "DIR", conflicts_with = "script")]
    files: Option<PathBuf>,
    /// Manifest of the handler: its description, variables and policy [default: none]
    ///
    /// `capstan schema` prints the JSON Schema of manifests.
    #[arg(long, value_name = "JOB.toml")]
    manifest: Option<PathBuf>,
    /// Print the handler as JSON [default: one line on stderr]
    #[arg(long)]
    json: bool,
}

/// A program file, and the name of its handler.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Source {
    name: Option<String>,
    file: PathBuf,
}

/// What to push: the name of the handler, and where its program and its files are.
#[derive(Debug, PartialEq, Eq)]
struct Plan {
    name: String,
    program: Option<PathBuf>,
    files: Option<PathBuf>,
}

impl FromStr for Source {
    type Err = std::convert::Infallible;

    /// Splits at the first `=`. A path may contain `=` too, so the text before it is a name only if it has no slash.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text.split_once('=') {
            Some((name, file)) if !name.contains('/') => Self { name: Some(name.to_owned()), file: file.into() },
            _ => Self { name: None, file: text.into() },
        })
    }
}

impl Push {
    /// Pushes the program and reports the result on stderr.
    ///
    /// # Errors
    /// [`CliError`]
    pub(super) async fn run(self, client: &Client) -> Result<ExitCode, CliError> {
        let mut manifest = match &self.manifest {
            Some(path) => ManifestFile::read(path)?,
            None => ManifestFile::default(),
        };
        if let Some(from) = &self.from {
            manifest.set_from(from.clone());
        }
        let Plan { name, program, files } = self.plan(&manifest)?;
        let wasm = program.as_deref().map(program::read).transpose()?;
        let files = files.as_deref().map(archive::pack).transpose()?;
        let start = Instant::now();
        let handler = put(client, &name, Parts { wasm, manifest: manifest.into_bytes(), files }).await?;
        let seconds = start.elapsed().as_secs_f64();
        if self.json {
            output::print_json(&handler)?;
        }
        for finding in handler["findings"].as_array().into_iter().flatten() {
            let field = |key: &str| finding[key].as_str().unwrap_or_default();
            output::print_note(format_args!("{} {}: {}", field("key"), field("asked"), field("rule")));
        }
        output::print_note(format_args!("pushed {name} {} {})", summary(&handler), format::seconds(seconds)));
        Ok(ExitCode::SUCCESS)
    }

    /// Decides what each argument means.
    fn plan(&self, manifest: &ManifestFile) -> Result<Plan, CliError> {
        let files = self.files.clone().or_else(|| manifest.files.clone());
        if manifest.from.is_none() {
            let source = match (&self.source, &self.script) {
                (Some(source), None) => source,
                (None, _) => return Err(CliError::NoProgram),
                (Some(_), Some(script)) => return Err(CliError::NeedsFrom(script.clone())),
            };
            let name = source.name.clone().or_else(|| manifest.name.clone());
            let name = name.or_else(|| program::suggested_name(&source.file).map(str::to_owned));
            let name = name.ok_or(CliError::NoHandlerName)?;
            return Ok(Plan { name, program: Some(source.file.clone()), files });
        }
        let (name, script) = match (&self.source, &self.script) {
            (Some(Source { name: Some(name), file }), None) => (Some(name.clone()), Some(file)),
            // A lone word is the name if it is already known which files there are.
            (Some(Source { name: None, file }), None) if files.is_some() => (file.to_str().map(str::to_owned), None),
            (Some(Source { name: None, file }), None) => (None, Some(file)),
            (Some(source), Some(script)) => (source.file.to_str().map(str::to_owned), Some(script)),
            (None, script) => (None, script.as_ref()),
        };
        if let Some(program) = script.filter(|script| is_program(script)) {
            return Err(CliError::ProgramAndBase(program.clone()));
        }
        let name = name.or_else(|| manifest.name.clone()).or_else(|| Some(program::handler_name(script?)));
        Ok(Plan { name: name.ok_or(CliError::NoHandlerName)?, program: None, files: script.cloned().or(files) })
    }
}

fn is_program(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "wasm" || extension == "wat")
}

/// Returns what a handler is, as the beginning of an enumeration in parentheses.
fn summary(handler: &Value) -> String {
    let digest = format::digest(handler["digest"].as_str().unwrap_or("without a digest"));
    let size = format::size(handler["size"].as_u64().unwrap_or(0));
    let files = match &handler["files"] {
        Value::Null => String::new(),
        files => format!("{} of files, ", format::size(files["size"].as_u64().unwrap_or(0))),
    };
    match handler["base"]["name"].as_str() {
        Some(base) => format!("from {base} {digest} ({files}"),
        None => format!("{digest} ({size}, {files}"),
    }
    .trim_end()
    .to_owned()
}

/// Pushes a handler under `name`, with a progress bar on the terminal. Returns the handler as JSON.
///
/// Cancel-safe: if the future is dropped, the daemon discards the upload.
///
/// # Errors
/// [`CliError::Client`]
pub(super) async fn put(client: &Client, name: &str, parts: Parts) -> Result<Value, CliError> {
    let (media_type, pieces) = parts.into_body(&format!("capstan-{:016x}", random::u64()));
    let (body, progress) = upload::body(pieces, name);
    let request = request(Method::PUT, &format!("/handlers/{}", utf8_percent_encode(name, URL_ENCODE_SET)));
    let request = request.header(CONTENT_TYPE, media_type).body(body).expect("the path is encoded");
    let handler = client.upload(request).await;
    progress.finish();
    Ok(handler?)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[track_caller]
    fn check(text: &str, name: Option<&str>, file: &str) {
        let expected = Source { name: name.map(str::to_owned), file: file.into() };
        assert_eq!(text.parse(), Ok(expected), "{text}");
    }

    #[test]
    fn source_is_split_into_name_and_file() {
        check("wc=a.wasm", Some("wc"), "a.wasm");
        check("a.wasm", None, "a.wasm");
        check("wc=-", Some("wc"), "-");
        check("./a=b.wasm", None, "./a=b.wasm");
        check("wc=./a=b.wasm", Some("wc"), "./a=b.wasm");
        check("=a.wasm", Some(""), "a.wasm");
    }

    #[derive(clap::Parser)]
    struct CommandLine {
        #[command(flatten)]
        push: Push,
    }

    /// Returns the name, the program and the files that a command line pushes with a manifest.
    fn plan(words: &str, manifest: &ManifestFile) -> Result<(String, String, String), CliError> {
        let words = ["push"].into_iter().chain(words.split(' ').filter(|word| !word.is_empty()));
        let plan = CommandLine::try_parse_from(words).unwrap().push.plan(manifest)?;
        let text = |path: Option<PathBuf>| path.map(|path| path.display().to_string()).unwrap_or_default();
        Ok((plan.name, text(plan.program), text(plan.files)))
    }

    #[test]
    fn name_of_command_line_overrides_manifest_and_file() {
        let none = ManifestFile::default();
        let named = ManifestFile { name: Some("m".into()), ..ManifestFile::default() };
        let name = |words: &str, manifest| plan(words, manifest).ok().map(|plan| plan.0);
        assert_eq!(name("n=f.wasm", &named).as_deref(), Some("n"));
        assert_eq!(name("f.wasm", &named).as_deref(), Some("m"));
        assert_eq!(name("d/f.wasm", &none).as_deref(), Some("f"));
        assert_eq!(name("-", &none), None);
    }

    #[test]
    fn words_mean_a_script_if_the_program_is_that_of_another() {
        let based = |files: Option<&str>| ManifestFile {
            from: Some("python".into()),
            files: files.map(Into::into),
            ..ManifestFile::default()
        };
        let check = |words: &str, manifest: &ManifestFile, expected: [&str; 3]| {
            assert_eq!(plan(words, manifest).unwrap(), expected.map(str::to_owned).into(), "{words}");
        };
        check("a.py", &based(None), ["a", "", "a.py"]);
        check("dir/my=script.py", &based(None), ["my-script", "", "dir/my=script.py"]);
        check("report app/", &based(None), ["report", "", "app/"]);
        check("report=app/", &based(None), ["report", "", "app/"]);
        check("report --app app", &based(None), ["report", "", "app"]);
        check("report", &based(Some("data")), ["report", "", "data"]);
        check("report app", &based(Some("data")), ["report", "", "app"]);
        let program = plan("a.wasm", &based(None)).unwrap_err();
        assert!(matches!(program, CliError::ProgramAndBase(_)), "{program}");
        assert!(matches!(plan("", &based(None)), Err(CliError::NoHandlerName)));
    }

    #[test]
    fn program_needs_a_file_and_a_script_needs_a_base() {
        let none = ManifestFile::default();
        assert!(matches!(plan("", &none), Err(CliError::NoProgram)));
        assert!(matches!(plan("report app/", &none), Err(CliError::NeedsFrom(_))));
        let expected = ["a", "a.wasm", "d"].map(str::to_owned).into();
        assert_eq!(plan("--app d a.wasm", &none).unwrap(), expected);
    }
}
