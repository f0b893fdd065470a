//! `capstan run` through the daemon: stdin is streamed to the daemon while the output and the outcome are streamed back.

use std::io;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use capstan_core::manifest::Manifest;
use capstan_core::policy::PolicyRequest;
use capstan_core::stream::pipe;
use futures_util::{StreamExt as _, stream};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use hyper::header::{ACCEPT, CONTENT_TYPE};
use hyper::{Method, Request};
use percent_encoding::utf8_percent_encode;
use serde_json::{Map, Value, json};

use super::client::{Body, Client, ClientError, URL_ENCODE_SET, full_body, request};
use super::error::CliError;
use super::framed_output::{self, Gaps};
use super::frames::MEDIA_TYPE;
use super::interrupt::Interrupt;
use super::job_spec::JobSpec;
use super::push::Parts;
use super::run_report::RunReport;
use super::stdin::GuestStdin;
use super::stream_threads::{self, CopyThread};
use super::{handlers, output, program, push, random};

/// The type of a body whose first line describes the run, and whose rest is stdin.
pub(super) const RUN_MEDIA_TYPE: &str = "application/vnd.capstan.run";

/// The error of stdin. hyper reports only that the body of the request failed, but not why.
pub(super) type StdinError = Arc<OnceLock<io::Error>>;

/// Runs a handler. If the user interrupts, it drops the request, and the daemon cancels the run.
///
/// # Errors
/// [`CliError`]
pub(super) async fn run(
    client: &Client,
    name: &str,
    spec: &JobSpec,
    stdin: GuestStdin,
    interrupt: &mut Interrupt,
) -> Result<RunReport, CliError> {
    let mut job = None;
    let result = tokio::select! {
        result = exchange(client, name, spec, stdin, &mut job) => Some(result),
        () = interrupt.received() => None,
    };
    result.unwrap_or_else(|| Ok(RunReport::stopped(job, name)))
}

/// Runs what `parts` push as a temporary handler of the daemon, for the program or script in `file`.
///
/// # Errors
/// [`CliError`]
pub(super) async fn run_parts(
    client: &Client,
    parts: Parts,
    file: &Path,
    spec: &JobSpec,
    stdin: GuestStdin,
    interrupt: &mut Interrupt,
) -> Result<RunReport, CliError> {
    let run = async |name: &str, interrupt: &mut Interrupt| run(client, name, spec, stdin, interrupt).await;
    let result = with_temporary_handler(client, parts, interrupt, run).await?;
    let report = result.unwrap_or_else(|name| RunReport::stopped(None, &name));
    Ok(RunReport { handler: program::handler_name(file), ..report })
}

/// Returns what pushes the program in `file`, with the features of `spec`.
///
/// # Errors
/// [`CliError`]
pub(super) fn file_parts(file: &Path, spec: &JobSpec) -> Result<Parts, CliError> {
    Ok(Parts { wasm: Some(program::read(file)?), manifest: Some(manifest(file, spec)), files: None })
}

/// Pushes `parts` under a random name, and calls `work` with that name. Then removes the handler, also if `work` failed.
///
/// Returns `Err(name)` in the inner result if the user interrupted before `work` started.
///
/// # Errors
/// [`CliError`]
pub(super) async fn with_temporary_handler<T>(
    client: &Client,
    parts: Parts,
    interrupt: &mut Interrupt,
    work: impl AsyncFnOnce(&str, &mut Interrupt) -> Result<T, CliError>,
) -> Result<Result<T, String>, CliError> {
    let name = format!("run-{:016x}", random::u64());
    let pushed = tokio::select! {
        pushed = push::put(client, &name, parts) => pushed.map(Some),
        () = interrupt.received() => Ok(None),
    };
    let result = match pushed? {
        Some(_) => work(&name, interrupt).await.map(Ok),
        None => Ok(Err(name.clone())),
    };
    tokio::select! {
        removed = handlers::remove(client, &name) => match removed {
            // The daemon may have discarded an interrupted push, so there may be nothing to remove.
            Ok(()) => {}
            Err(ClientError::Rejected { code, .. }) if code == "unknown_handler" => {}
            Err(error) => output::print_error(format_args!("cannot remove the temporary handler {name}: {error}; remove it with `capstan handlers rm {name}`")),
        },
        () = interrupt.received() => output::print_error(format_args!("interrupted: the temporary handler {name} is still on the daemon; remove it with `capstan handlers rm {name}`")),
    }
    result
}

/// Returns the manifest of a temporary handler. It holds what a run cannot request: `argv[0]` and the features.
fn manifest(file: &Path, spec: &JobSpec) -> Bytes {
    let policy = PolicyRequest { features: spec.policy.features.clone(), ..PolicyRequest::EMPTY };
    let manifest = Manifest { policy, argv0: Some(program::argv0(file)), ..Manifest::default() };
    toml::to_string(&manifest).expect("plain data").into()
}

async fn exchange(
    client: &Client,
    name: &str,
    spec: &JobSpec,
    stdin: GuestStdin,
    job: &mut Option<String>,
) -> Result<RunReport, CliError> {
    let stdin_error = StdinError::default();
    let request = run_request(name, body_with_stdin(&run_json(spec), stdin, stdin_error.clone())?);
    let result = receive(client, request, job).await;
    or_stdin_error(result, &stdin_error)
}

/// Returns the error of stdin if a request with [`body_with_stdin`] failed for it: that of the request says only that its body ended early.
pub(super) fn or_stdin_error<T>(result: Result<T, CliError>, stdin_error: &StdinError) -> Result<T, CliError> {
    match stdin_error.get() {
        Some(error) if result.is_err() => Err(CliError::Stdin(io::Error::new(error.kind(), error.to_string()))),
        _ => result,
    }
}

async fn receive(client: &Client, request: Request<Body>, job: &mut Option<String>) -> Result<RunReport, CliError> {
    let mut response = client.exchange(request).await?;
    let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
    *job = header("capstan-job").map(str::to_owned);
    if header(CONTENT_TYPE.as_str()) != Some(MEDIA_TYPE) {
        return Err(client.unexpected_response(&"its response to a run is not in frames").into());
    }
    match framed_output::write(Gaps::Reject, async || response.chunk().await).await? {
        Some(json) => Ok(RunReport::from_json(&json)?),
        None => Err(ClientError::Disconnected.into()),
    }
}

/// Returns a body of type [`RUN_MEDIA_TYPE`]: `json` as its first line, then `stdin`, of which a thread reads up to 1 MiB ahead of the
/// daemon. An error of stdin is also in `stdin_error`.
///
/// # Errors
/// [`CliError::Stdin`], [`CliError::Startup`].
pub(super) fn body_with_stdin(json: &Value, stdin: GuestStdin, stdin_error: StdinError) -> Result<Body, CliError> {
    let line = Bytes::from(format!("{json}\n"));
    let Some(pieces) = stdin_pieces(stdin, stdin_error)? else { return Ok(full_body(line)) };
    let pieces = stream::once(std::future::ready(Ok(line))).chain(pieces);
    Ok(StreamBody::new(pieces.map(|piece| piece.map(Frame::data))).boxed_unsync())
}

/// Returns a body of what `input` has, which is read as it is sent.
///
/// # Errors
/// [`CliError::Stdin`], [`CliError::Startup`].
pub(super) fn body_of(input: GuestStdin, error: StdinError) -> Result<Body, CliError> {
    let Some(pieces) = stdin_pieces(input, error)? else { return Ok(full_body(Bytes::new())) };
    Ok(StreamBody::new(pieces.map(|piece| piece.map(Frame::data))).boxed_unsync())
}

/// Returns the pieces of `stdin`, or `None` if there is none.
fn stdin_pieces(
    stdin: GuestStdin,
    stdin_error: StdinError,
) -> Result<Option<impl stream::Stream<Item = io::Result<Bytes>> + Send + 'static>, CliError> {
    let Some(file) = stdin.into_file()? else { return Ok(None) };
    let (sink, source) = pipe(stream_threads::CAPACITY);
    let reader = CopyThread::read(file, sink).map_err(CliError::Startup)?;
    Ok(Some(stream::try_unfold((source, reader, stdin_error), |(mut source, mut reader, stdin_error)| async {
        let bytes = source.read_bytes().await;
        if !bytes.is_empty() {
            return Ok(Some((bytes, (source, reader, stdin_error))));
        }
        match reader.finished().await {
            Ok(()) => Ok(None),
            Err(error) => {
                let kind = error.kind();
                // It can be set only once: a stream that has failed is not read again.
                let _ = stdin_error.set(error);
                Err(io::Error::from(kind))
            }
        }
    })))
}

/// Returns what a run is requested with.
pub(super) fn run_json(spec: &JobSpec) -> Value {
    let env: Map<_, _> = spec.env.iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
    let mut json = json!({"args": spec.args, "env": env, "policy": spec.policy});
    if let Some(key) = &spec.concurrency_key {
        json["concurrency_key"] = key.as_str().into();
    }
    if let Some(invoke) = &spec.invoke {
        json["invoke"] = invoke.as_str().into();
    }
    json
}

fn run_request(name: &str, body: Body) -> Request<Body> {
    let path = format!("/handlers/{}/run", utf8_percent_encode(name, URL_ENCODE_SET));
    let request = request(Method::POST, &path).header(ACCEPT, MEDIA_TYPE).header(CONTENT_TYPE, RUN_MEDIA_TYPE);
    request.body(body).expect("the path is encoded")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use capstan_core::env::Env;

    use super::*;
    use crate::cli::client::empty_body;

    #[test]
    fn run_json_has_every_part_of_job_spec() {
        let mut env = Env::new();
        env.set("A", "1 ü\n").unwrap();
        let policy = PolicyRequest {
            timeout: Some(Duration::from_millis(1500)),
            memory: Some(65_536),
            ..PolicyRequest::default()
        };
        let spec = JobSpec {
            args: vec!["--top".into(), String::new()],
            env,
            policy,
            concurrency_key: Some("k".into()),
            invoke: Some("f(1)".into()),
        };
        let expected = json!({
            "args": ["--top", ""], "env": {"A": "1 ü\n"}, "policy": {"timeout": 1.5, "memory": 65536},
            "concurrency_key": "k", "invoke": "f(1)",
        });
        assert_eq!(run_json(&spec), expected);
        assert!(!run_json(&spec).to_string().contains('\n'), "the line must not break");
    }

    #[test]
    fn run_request_encodes_name_and_names_types() {
        let request = run_request("a/b", empty_body());
        assert_eq!(request.uri(), "/v1/handlers/a%2Fb/run");
        assert_eq!(
            (&request.headers()[ACCEPT], &request.headers()[CONTENT_TYPE]),
            (&MEDIA_TYPE.parse().unwrap(), &RUN_MEDIA_TYPE.parse().unwrap())
        );
    }

    #[tokio::test]
    async fn body_with_stdin_starts_with_the_line() {
        let file = tempfile::tempfile().unwrap();
        rustix::io::pwrite(&file, b"input\n", 0).unwrap();
        for (stdin, expected) in [(GuestStdin::Empty, "{}\n"), (GuestStdin::File(file), "{}\ninput\n")] {
            let body = body_with_stdin(&json!({}), stdin, StdinError::default()).unwrap();
            assert_eq!(body.collect().await.unwrap().to_bytes(), expected);
        }
    }
}
