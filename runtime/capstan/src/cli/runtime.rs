//! `capstan runtime`: installs, lists and removes the runtimes of scripts.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use bytes::Bytes;
use capstan_core::manifest::{Manifest, RuntimeTable};
use capstan_core::mount::MountSource;
use capstan_engine::handler::HandlerName;
use clap::{Args, Subcommand};
use hyper::Method;
use percent_encoding::utf8_percent_encode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::client::{Client, ClientError, URL_ENCODE_SET};
use super::environment::Environment;
use super::error::CliError;
use super::push::Parts;
use super::runtimes::{Installed, Record, RuntimeError, known};
use super::{format, handlers, output, paths, program, project, push};
use crate::daemon::open_mount;

/// The names of the manifest in a directory, in the order in which they are looked for.
const MANIFESTS: [&str; 2] = ["runtime.toml", "job.toml"];

/// The command line of `capstan runtime`.
#[derive(Debug, Args)]
pub(super) struct RuntimeCommand {
    /// Print JSON [default: text]
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the runtimes (the default)
    Ls,
    /// Install a runtime, and replace the one of that name
    ///
    /// For python, javascript, ruby, lua and php it is known which scripts they run, and how.
    Add {
        /// Name of the runtime
        name: String,
        /// Program, as FILE.wasm; or a directory with one .wasm file, and with runtime.toml or job.toml
        source: PathBuf,
        /// Extension of its scripts, such as .py. May be repeated [default: those of the manifest, or what is known]
        #[arg(long = "extension", value_name = "EXTENSION")]
        extensions: Vec<String>,
        /// Licence of the program, as an SPDX expression [default: that of the manifest, or what is known]
        #[arg(long, value_name = "SPDX")]
        licence: Option<String>,
    },
    /// Remove runtimes
    ///
    /// On a daemon, handlers that share the program of the runtime keep it.
    Rm {
        /// Names of the runtimes
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
}

/// A runtime, as lists show it.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) name: String,
    pub(super) table: RuntimeTable,
    digest: String,
    size: u64,
}

impl RuntimeCommand {
    /// Runs the subcommand: on the daemon of `client`, or for runs in process if the user named no daemon.
    ///
    /// # Errors
    /// [`CliError`]
    pub(super) async fn run(self, client: Option<Client>, environment: &Environment) -> Result<ExitCode, CliError> {
        match self.command.unwrap_or(Command::Ls) {
            Command::Ls => {
                let rows = match &client {
                    None => Installed::all(environment)?.into_iter().map(Row::of_installed).collect(),
                    Some(client) => on_daemon(client).await?,
                };
                if self.json {
                    output::print_json(&json!({"runtimes": rows.iter().map(Row::to_json).collect::<Vec<_>>()}))?;
                } else {
                    output::print(table(&rows).as_bytes())?;
                }
            }
            Command::Add { name, source, extensions, licence } => {
                HandlerName::new(&name).map_err(|_| RuntimeError::InvalidName(name.clone()))?;
                let (wasm, manifest) = read(&name, &source, extensions, licence)?;
                let row = match &client {
                    None => {
                        let source = source.display().to_string();
                        Row::of_installed(Installed::add(&name, &wasm, &manifest, source, environment)?)
                    }
                    Some(client) => add_to_daemon(client, &name, wasm, &manifest).await?,
                };
                if self.json {
                    output::print_json(&row.to_json())?;
                }
                let (digest, extensions) = (format::digest(&row.digest), row.table.extensions.join(" "));
                output::print_note(format_args!(
                    "installed {name} for {extensions}: {digest} ({})",
                    format::size(row.size)
                ));
            }
            Command::Rm { names } => {
                for name in names {
                    match &client {
                        None => Installed::remove(&name, environment)?,
                        Some(client) => remove_from_daemon(client, &name).await?,
                    }
                    output::print(format!("{name}\n").as_bytes())?;
                }
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Reads a runtime from a file or a directory. Its manifest says what it runs: the command line, else the manifest of the directory, else what
/// is known for the name.
fn read(
    name: &str,
    source: &Path,
    extensions: Vec<String>,
    licence: Option<String>,
) -> Result<(Bytes, Manifest), CliError> {
    let (program, own) = find_program(source)?;
    let wasm = program::read(&program)?;
    if !wasm.starts_with(b"\0asm") {
        return Err(RuntimeError::NotWasm { file: program.display().to_string() }.into());
    }
    let known = known::get(name).map(known::Known::manifest).unwrap_or_default();
    let mut env = known.env;
    env.extend(&own.env);
    let mut table = own.runtime.clone().or(known.runtime).unwrap_or_default();
    if !extensions.is_empty() {
        table.extensions = extensions;
    }
    table.licence = licence.or(table.licence);
    if table.extensions.is_empty() {
        return Err(RuntimeError::NoExtensions { name: name.to_owned() }.into());
    }
    let manifest = Manifest {
        name: Some(name.to_owned()),
        description: own.description.clone().or(known.description),
        argv0: own.argv0.clone().or(known.argv0),
        env,
        runtime: Some(table),
        ..own
    };
    // Checks the extensions of the command line too.
    let text = toml::to_string(&manifest).expect("plain data");
    let invalid = |reason: String| CliError::Manifest { file: format!("the manifest of {name}"), reason };
    let manifest = Manifest::parse(&text).map_err(|error| invalid(error.to_string()))?;
    Ok((wasm, manifest))
}

/// Returns the path of the program that `source` names, and the manifest beside it.
fn find_program(source: &Path) -> Result<(PathBuf, Manifest), CliError> {
    let MountSource { dir, file } = open_mount(source).map_err(paths::file_error(source))?;
    if file.is_some() {
        return Ok((source.to_owned(), Manifest::default()));
    }
    let mut programs = Vec::new();
    for entry in dir.entries().map_err(paths::file_error(source))? {
        let path = source.join(entry.map_err(paths::file_error(source))?.file_name());
        programs.extend(path.extension().is_some_and(|extension| extension == "wasm").then(|| path.clone()));
    }
    let (1, Some(program)) = (programs.len(), programs.pop()) else {
        return Err(RuntimeError::Programs { directory: source.display().to_string(), count: programs.len() }.into());
    };
    let Some(name) = MANIFESTS.iter().find(|name| dir.symlink_metadata(name).is_ok()) else {
        return Ok((program, Manifest::default()));
    };
    let path = source.join(name);
    let text = dir.read_to_string(name).map_err(paths::file_error(&path))?;
    let invalid = |reason: String| CliError::Manifest { file: path.display().to_string(), reason };
    // The directory of a job may be that of a runtime too, with test cases.
    let text = project::daemon_manifest(&text);
    Ok((program, Manifest::parse(&text).map_err(|error| invalid(error.to_string()))?))
}

/// Returns the runtimes of a daemon, in the order of their names.
///
/// # Errors
/// [`CliError::Client`]
pub(super) async fn on_daemon(client: &Client) -> Result<Vec<Row>, CliError> {
    #[derive(Deserialize)]
    struct List {
        handlers: Vec<Value>,
    }
    let response = client.call(Method::GET, "/handlers").await?;
    let list: List = serde_json::from_value(response).map_err(|error| client.unexpected_response(&error))?;
    Ok(list.handlers.iter().filter_map(Row::of_handler).collect())
}

async fn add_to_daemon(client: &Client, name: &str, wasm: Bytes, manifest: &Manifest) -> Result<Row, CliError> {
    is_runtime(client, name).await?;
    let manifest = Some(toml::to_string(manifest).expect("plain data").into());
    let handler = push::put(client, name, Parts { wasm: Some(wasm), manifest, files: None }).await?;
    Ok(Row::of_handler(&handler).ok_or_else(|| client.unexpected_response(&"the handler is no runtime"))?)
}

async fn remove_from_daemon(client: &Client, name: &str) -> Result<(), CliError> {
    if !is_runtime(client, name).await? {
        return Err(RuntimeError::Unknown(name.to_owned()).into());
    }
    Ok(handlers::remove(client, name).await?)
}

/// Returns whether the daemon has the runtime `name`.
///
/// # Errors
/// [`RuntimeError::NotARuntime`] if a handler of another kind has the name.
async fn is_runtime(client: &Client, name: &str) -> Result<bool, CliError> {
    match client.call(Method::GET, &format!("/handlers/{}", utf8_percent_encode(name, URL_ENCODE_SET))).await {
        Ok(handler) if handler["runtime"].is_null() => Err(RuntimeError::NotARuntime(name.to_owned()).into()),
        Ok(_) => Ok(true),
        Err(ClientError::Rejected { code, .. }) if code == "unknown_handler" => Ok(false),
        Err(error) => Err(error.into()),
    }
}

impl Row {
    fn of_installed(runtime: Installed) -> Self {
        let table = runtime.table();
        let Installed { name, record: Record { digest, size, .. }, .. } = runtime;
        Self { name, table, digest, size }
    }

    /// Returns the row of a handler. `None` if it is no runtime.
    fn of_handler(handler: &Value) -> Option<Self> {
        let table = serde_json::from_value(handler.get("runtime")?.clone()).ok()?;
        let text = |key: &str| handler[key].as_str().map(str::to_owned);
        Some(Self { name: text("name")?, table, digest: text("digest")?, size: handler["size"].as_u64()? })
    }

    fn to_json(&self) -> Value {
        let Self { name, table, digest, size } = self;
        json!({
            "name": name, "extensions": table.extensions, "licence": table.licence, "digest": digest, "size": size,
        })
    }
}

fn table(rows: &[Row]) -> String {
    let cells = rows.iter().map(|row| {
        let licence = row.table.licence.clone().unwrap_or_else(|| "-".to_owned());
        let digest = format::digest(&row.digest).to_owned();
        vec![row.name.clone(), row.table.extensions.join(" "), format::size(row.size), digest, licence]
    });
    format::table(&["NAME", "SCRIPTS", "SIZE", "DIGEST", "LICENCE"], cells)
}
