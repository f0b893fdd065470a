//! `capstan push`: a file becomes the program of a handler.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Instant;

use bytes::Bytes;
use clap::Args;
use hyper::Method;
use hyper::header::CONTENT_TYPE;
use percent_encoding::utf8_percent_encode;
use serde_json::Value;

use super::client::{Client, URL, request};
use super::error::CliError;
use super::{output, paths, program, show, upload};

/// What `capstan push` is called with.
#[derive(Debug, Args)]
pub(super) struct Push {
    /// The program, in binary or text form; `-` is stdin. Without NAME the manifest names the handler, else the file does.
    #[arg(value_name = "[NAME=]FILE.wasm")]
    source: Source,
    /// The manifest of the handler: its description, its limits, its variables.
    #[arg(long, value_name = "JOB.toml")]
    manifest: Option<PathBuf>,
    /// Print what the daemon has now, as JSON.
    #[arg(long)]
    json: bool,
}

/// A file, and the name to push it under.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Source {
    name: Option<String>,
    file: PathBuf,
}

impl FromStr for Source {
    type Err = std::convert::Infallible;

    /// A path may hold `=` as well; what stands before it is a name only if it holds no slash, as no name does.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text.split_once('=') {
            Some((name, file)) if !name.contains('/') => Self { name: Some(name.to_owned()), file: file.into() },
            _ => Self { name: None, file: text.into() },
        })
    }
}

impl Push {
    /// Pushes, and tells on stderr what came of it.
    ///
    /// # Errors
    /// [`CliError`]
    pub(super) async fn run(self, client: &Client) -> Result<ExitCode, CliError> {
        let manifest = self.manifest.as_deref().map(read_manifest).transpose()?;
        let name = self.source.name(manifest.as_ref())?;
        let wasm = program::read(&self.source.file)?;
        let began = Instant::now();
        let handler = put(client, &name, wasm, manifest.map(|manifest| manifest.text)).await?;
        let took = began.elapsed().as_secs_f64();
        let digest = handler["digest"].as_str().unwrap_or("without a digest");
        let size = show::size(handler["size"].as_u64().unwrap_or(0));
        if self.json {
            output::print_json(&handler)?;
        }
        for finding in handler["findings"].as_array().into_iter().flatten() {
            let text = |key: &str| finding[key].as_str().unwrap_or_default();
            output::note(format_args!("{} {}: {}", text("key"), text("asked"), text("rule")));
        }
        output::note(format_args!("pushed {name} {} ({size}, {})", show::digest(digest), show::seconds(took)));
        Ok(ExitCode::SUCCESS)
    }
}

impl Source {
    fn name(&self, manifest: Option<&ManifestText>) -> Result<String, CliError> {
        let given = self.name.clone().or_else(|| manifest?.name.clone());
        given.or_else(|| program::stem(&self.file).map(str::to_owned)).ok_or(CliError::NoName)
    }
}

/// A manifest as it is sent, with the one thing in it that matters here. What else it says is the daemon's to judge: that may be
/// newer than this command and know more keys.
#[derive(Debug)]
struct ManifestText {
    text: Bytes,
    name: Option<String>,
}

fn read_manifest(path: &Path) -> Result<ManifestText, CliError> {
    let text = paths::read(path)?;
    let refuse = |why: String| CliError::Manifest { file: path.display().to_string(), why };
    let parsed: toml::Table =
        toml::from_slice(&text).map_err(|error| refuse(error.to_string().trim_end().to_owned()))?;
    let name = match parsed.get("name") {
        None => None,
        Some(toml::Value::String(name)) => Some(name.clone()),
        Some(_) => return Err(refuse("its name is not text".to_owned())),
    };
    Ok(ManifestText { text: text.into(), name })
}

/// Puts a program, and its manifest where there is one, under `name`, with a bar on the terminal; returns what the daemon has now.
/// Cancel-safe: where the future is dropped, the daemon gives up.
///
/// # Errors
/// [`CliError::Client`]
pub(super) async fn put(client: &Client, name: &str, wasm: Bytes, manifest: Option<Bytes>) -> Result<Value, CliError> {
    let (media_type, parts) = match manifest {
        None => ("application/wasm".to_owned(), vec![wasm]),
        Some(manifest) => multipart(wasm, manifest, &format!("capstan-{:016x}", super::random())),
    };
    let (body, progress) = upload::body(parts, name);
    let request = request(Method::PUT, &format!("/handlers/{}", utf8_percent_encode(name, URL)));
    let request = request.header(CONTENT_TYPE, media_type).body(body).expect("the path is encoded");
    let handler = client.upload(request).await;
    progress.finish();
    Ok(handler?)
}

fn multipart(wasm: Bytes, manifest: Bytes, boundary: &str) -> (String, Vec<Bytes>) {
    let head = |name: &str, media_type: &str| {
        format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"{name}\"\r\n\
             Content-Type: {media_type}\r\n\r\n"
        )
    };
    let parts = vec![
        head("manifest", "application/toml").into(),
        manifest,
        format!("\r\n{}", head("module", "application/wasm")).into(),
        wasm,
        format!("\r\n--{boundary}--\r\n").into(),
    ];
    (format!("multipart/form-data; boundary={boundary}"), parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, name: Option<&str>, file: &str) {
        let expected = Source { name: name.map(str::to_owned), file: file.into() };
        assert_eq!(text.parse(), Ok(expected), "{text}");
    }

    #[test]
    fn a_name_stands_before_its_file() {
        check("wc=a.wasm", Some("wc"), "a.wasm");
        check("a.wasm", None, "a.wasm");
        check("wc=-", Some("wc"), "-");
        check("./a=b.wasm", None, "./a=b.wasm");
        check("wc=./a=b.wasm", Some("wc"), "./a=b.wasm");
        check("=a.wasm", Some(""), "a.wasm");
    }

    #[test]
    fn the_command_line_names_before_the_manifest_and_that_before_the_file() {
        let manifest = ManifestText { text: Bytes::new(), name: Some("m".into()) };
        let name = |text: &str, manifest| text.parse::<Source>().unwrap().name(manifest).ok();
        assert_eq!(name("n=f.wasm", Some(&manifest)).as_deref(), Some("n"));
        assert_eq!(name("f.wasm", Some(&manifest)).as_deref(), Some("m"));
        assert_eq!(name("d/f.wasm", None).as_deref(), Some("f"));
        assert_eq!(name("-", None), None);
    }

    #[test]
    fn a_manifest_that_is_no_toml_is_refused_here() {
        use std::io::Write as _;
        let read = |text: &str| {
            let mut file = tempfile::NamedTempFile::new().unwrap();
            file.write_all(text.as_bytes()).unwrap();
            read_manifest(file.path()).map(|manifest| manifest.name)
        };
        assert_eq!(read("name = \"wc\"\nlater = 1").unwrap().as_deref(), Some("wc"));
        assert_eq!(read("").unwrap(), None);
        assert!(matches!(read("name = "), Err(CliError::Manifest { .. })));
        assert!(matches!(read("name = 3"), Err(CliError::Manifest { .. })));
    }

    #[test]
    fn both_parts_stand_between_boundaries() {
        let (media_type, parts) = multipart(Bytes::from("\0asm"), Bytes::from("a = 1"), "xx");
        assert_eq!(media_type, "multipart/form-data; boundary=xx");
        let body = String::from_utf8(parts.concat()).unwrap();
        let expected = "--xx\r\nContent-Disposition: form-data; name=\"manifest\"; filename=\"manifest\"\r\n\
                        Content-Type: application/toml\r\n\r\na = 1\r\n\
                        --xx\r\nContent-Disposition: form-data; name=\"module\"; filename=\"module\"\r\n\
                        Content-Type: application/wasm\r\n\r\n\0asm\r\n--xx--\r\n";
        assert_eq!(body, expected);
    }
}
