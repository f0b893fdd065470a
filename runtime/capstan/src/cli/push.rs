//! `capstan push`: makes a program file a handler of the daemon.

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

use super::client::{Client, URL_ENCODE_SET, request};
use super::error::CliError;
use super::{format, output, paths, program, project, random, upload};

/// The command line of `capstan push`.
#[derive(Debug, Args)]
pub(super) struct Push {
    /// Program file, as WebAssembly binary (.wasm) or text (.wat). `-` is stdin
    ///
    /// NAME is the name of the handler [default: `name` of the manifest, else the file name without its extension].
    #[arg(value_name = "[NAME=]FILE.wasm")]
    source: Source,
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
        let manifest = self.manifest.as_deref().map(read_manifest).transpose()?;
        let name = self.source.handler_name(manifest.as_ref())?;
        let wasm = program::read(&self.source.file)?;
        let start = Instant::now();
        let handler = put(client, &name, wasm, manifest.map(|manifest| manifest.bytes)).await?;
        let seconds = start.elapsed().as_secs_f64();
        let digest = handler["digest"].as_str().unwrap_or("without a digest");
        let size = format::size(handler["size"].as_u64().unwrap_or(0));
        if self.json {
            output::print_json(&handler)?;
        }
        for finding in handler["findings"].as_array().into_iter().flatten() {
            let field = |key: &str| finding[key].as_str().unwrap_or_default();
            output::print_note(format_args!("{} {}: {}", field("key"), field("asked"), field("rule")));
        }
        output::print_note(format_args!(
            "pushed {name} {} ({size}, {})",
            format::digest(digest),
            format::seconds(seconds)
        ));
        Ok(ExitCode::SUCCESS)
    }
}

impl Source {
    fn handler_name(&self, manifest: Option<&ManifestFile>) -> Result<String, CliError> {
        let name = self.name.clone().or_else(|| manifest?.name.clone());
        name.or_else(|| program::suggested_name(&self.file).map(str::to_owned)).ok_or(CliError::NoHandlerName)
    }
}

/// The bytes of a manifest and its `name`. The daemon checks all other keys, since it may be newer than this command and know more of them.
#[derive(Debug)]
struct ManifestFile {
    bytes: Bytes,
    name: Option<String>,
}

fn read_manifest(path: &Path) -> Result<ManifestFile, CliError> {
    let bytes = paths::read(path)?;
    let invalid = |reason: String| CliError::Manifest { file: path.display().to_string(), reason };
    let table: toml::Table =
        toml::from_slice(&bytes).map_err(|error| invalid(error.to_string().trim_end().to_owned()))?;
    let name = match table.get("name") {
        None => None,
        Some(toml::Value::String(name)) => Some(name.clone()),
        Some(_) => return Err(invalid("`name` must be a string".to_owned())),
    };
    let bytes = match std::str::from_utf8(&bytes) {
        Ok(text) => project::daemon_manifest(text).into_owned().into(),
        Err(_) => bytes.into(),
    };
    Ok(ManifestFile { bytes, name })
}

/// Pushes a program and its manifest, if any, as the handler `name`, with a progress bar on the terminal. Returns the handler as JSON.
///
/// Cancel-safe: if the future is dropped, the daemon discards the upload.
///
/// # Errors
/// [`CliError::Client`]
pub(super) async fn put(client: &Client, name: &str, wasm: Bytes, manifest: Option<Bytes>) -> Result<Value, CliError> {
    let (media_type, parts) = match manifest {
        None => ("application/wasm".to_owned(), vec![wasm]),
        Some(manifest) => multipart(wasm, manifest, &format!("capstan-{:016x}", random::u64())),
    };
    let (body, progress) = upload::body(parts, name);
    let request = request(Method::PUT, &format!("/handlers/{}", utf8_percent_encode(name, URL_ENCODE_SET)));
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
    fn source_is_split_into_name_and_file() {
        check("wc=a.wasm", Some("wc"), "a.wasm");
        check("a.wasm", None, "a.wasm");
        check("wc=-", Some("wc"), "-");
        check("./a=b.wasm", None, "./a=b.wasm");
        check("wc=./a=b.wasm", Some("wc"), "./a=b.wasm");
        check("=a.wasm", Some(""), "a.wasm");
    }

    #[test]
    fn name_of_command_line_overrides_manifest_and_file() {
        let manifest = ManifestFile { bytes: Bytes::new(), name: Some("m".into()) };
        let name = |text: &str, manifest| text.parse::<Source>().unwrap().handler_name(manifest).ok();
        assert_eq!(name("n=f.wasm", Some(&manifest)).as_deref(), Some("n"));
        assert_eq!(name("f.wasm", Some(&manifest)).as_deref(), Some("m"));
        assert_eq!(name("d/f.wasm", None).as_deref(), Some("f"));
        assert_eq!(name("-", None), None);
    }

    #[test]
    fn manifest_that_is_not_toml_is_rejected() {
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
    fn multipart_body_has_manifest_and_module_between_boundaries() {
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
