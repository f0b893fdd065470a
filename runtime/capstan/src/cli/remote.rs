//! `capstan run` through the daemon: stdin is streamed to the daemon while the output and the outcome are streamed back.

use std::io;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use capstan_core::manifest::Manifest;
use capstan_core::outcome::OutputStream;
use capstan_core::policy::PolicyRequest;
use capstan_core::stream::PIPE_CAPACITY;
use futures_util::StreamExt as _;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use hyper::header::{ACCEPT, CONTENT_TYPE};
use hyper::{Method, Request};
use percent_encoding::utf8_percent_encode;
use tokio_util::io::ReaderStream;

use super::client::{Body, Client, ClientError, URL_ENCODE_SET, request};
use super::error::CliError;
use super::frames::{Chunk, FrameDecoder, FrameError, MEDIA_TYPE};
use super::interrupt::Interrupt;
use super::job_spec::JobSpec;
use super::run_report::RunReport;
use super::{handlers, output, program, push, random};

/// The maximum size of a request target, in bytes. The HTTP libraries of both sides have this limit.
const MAX_TARGET: usize = 65_534;

/// The error of stdin. hyper reports only that the body of the request failed, but not why.
type StdinError = Arc<OnceLock<io::Error>>;

/// Runs a handler. If the user interrupts, it drops the request, and the daemon cancels the run.
///
/// # Errors
/// [`CliError`]
pub(super) async fn run(
    client: &Client,
    name: &str,
    spec: &JobSpec,
    interrupt: &mut Interrupt,
) -> Result<RunReport, CliError> {
    let mut job = None;
    let result = tokio::select! {
        result = exchange(client, name, spec, &mut job) => Some(result),
        () = interrupt.received() => None,
    };
    result.unwrap_or_else(|| Ok(RunReport::stopped(job, name)))
}

/// Runs a program file as a temporary handler of the daemon.
///
/// # Errors
/// [`CliError`]
pub(super) async fn run_file(
    client: &Client,
    file: &Path,
    spec: &JobSpec,
    interrupt: &mut Interrupt,
) -> Result<RunReport, CliError> {
    let run = async |name: &str, interrupt: &mut Interrupt| run(client, name, spec, interrupt).await;
    let result = with_temporary_handler(client, file, spec, interrupt, run).await?;
    let report = result.unwrap_or_else(|name| RunReport::stopped(None, &name));
    Ok(RunReport { handler: program::handler_name(file), ..report })
}

/// Pushes the program in `file` under a random name, with the features of `spec`, and calls `work` with that name. Then removes the
/// handler, also if `work` failed.
///
/// Returns `Err(name)` in the inner result if the user interrupted before `work` started.
///
/// # Errors
/// [`CliError`]
pub(super) async fn with_temporary_handler<T>(
    client: &Client,
    file: &Path,
    spec: &JobSpec,
    interrupt: &mut Interrupt,
    work: impl AsyncFnOnce(&str, &mut Interrupt) -> Result<T, CliError>,
) -> Result<Result<T, String>, CliError> {
    let wasm = program::read(file)?;
    let name = format!("run-{:016x}", random::u64());
    let pushed = tokio::select! {
        pushed = push::put(client, &name, wasm, Some(manifest(file, spec))) => pushed.map(Some),
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
    job: &mut Option<String>,
) -> Result<RunReport, CliError> {
    let stdin_error = StdinError::default();
    let request = run_request(name, spec, stdin(stdin_error.clone()))?;
    let result = receive(client, request, job).await;
    match stdin_error.get() {
        // The error of the request says only that its body ended early. The error of stdin is the reason.
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
    let mut decoder = FrameDecoder::default();
    let (mut stdout, mut stderr) = (tokio::io::stdout(), tokio::io::stderr());
    while let Some(bytes) = response.chunk().await? {
        decoder.push(&bytes);
        while let Some(chunk) = decoder.next().map_err(ClientError::Frame)? {
            match chunk {
                Chunk::Stdout(bytes) => output::write_and_flush(&mut stdout, &bytes)
                    .await
                    .map_err(output::output_error(OutputStream::Stdout))?,
                Chunk::Stderr(bytes) => output::write_and_flush(&mut stderr, &bytes)
                    .await
                    .map_err(output::output_error(OutputStream::Stderr))?,
                Chunk::Outcome(json) => return Ok(RunReport::from_json(&json)?),
                Chunk::Gap(_) => return Err(ClientError::Frame(FrameError::UnexpectedGap).into()),
            }
        }
    }
    decoder.finish().map_err(ClientError::Frame)?;
    Err(ClientError::Disconnected.into())
}

/// Returns stdin as a request body. The next piece is read when the daemon has taken the previous one.
fn stdin(stdin_error: StdinError) -> Body {
    let pieces = ReaderStream::with_capacity(tokio::io::stdin(), PIPE_CAPACITY).map(move |result| match result {
        Ok(bytes) => Ok(Frame::data(bytes)),
        Err(error) => {
            let kind = error.kind();
            // It can be set only once: a stream that has failed is not read again.
            let _ = stdin_error.set(error);
            Err(io::Error::from(kind))
        }
    });
    StreamBody::new(pieces).boxed_unsync()
}

fn run_request(name: &str, spec: &JobSpec, body: Body) -> Result<Request<Body>, CliError> {
    let target = target(name, spec);
    if target.len() > MAX_TARGET {
        return Err(CliError::RequestTooLong { size: target.len(), limit: MAX_TARGET });
    }
    let mut request = request(Method::POST, &target).header(ACCEPT, MEDIA_TYPE);
    for (name, value) in spec.env.iter() {
        let pair =
            format!("{}={}", utf8_percent_encode(name, URL_ENCODE_SET), utf8_percent_encode(value, URL_ENCODE_SET));
        request = request.header("capstan-env", pair);
    }
    Ok(request.body(body).expect("path, query and headers are encoded"))
}

fn target(name: &str, spec: &JobSpec) -> String {
    let mut query = Vec::new();
    query.extend(spec.args.iter().map(|arg| format!("arg={}", utf8_percent_encode(arg, URL_ENCODE_SET))));
    if spec.policy != PolicyRequest::EMPTY {
        let policy = serde_json::to_string(&spec.policy).expect("plain data");
        query.push(format!("policy={}", utf8_percent_encode(&policy, URL_ENCODE_SET)));
    }
    let key = spec.concurrency_key.as_ref();
    query.extend(key.map(|key| format!("concurrency_key={}", utf8_percent_encode(key, URL_ENCODE_SET))));
    let path = format!("/handlers/{}/run", utf8_percent_encode(name, URL_ENCODE_SET));
    if query.is_empty() { path } else { format!("{path}?{}", query.join("&")) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::cli::client::empty_body;
    use capstan_core::env::Env;

    fn job_spec(args: &[&str], env: &[&str], policy: PolicyRequest) -> JobSpec {
        let mut variables = Env::new();
        for pair in env {
            variables.set_pair(pair).unwrap();
        }
        JobSpec {
            args: args.iter().copied().map(str::to_owned).collect(),
            env: variables,
            policy,
            concurrency_key: None,
        }
    }

    fn request_for(spec: &JobSpec) -> Result<Request<Body>, CliError> {
        run_request("a/b", spec, empty_body())
    }

    #[test]
    fn job_spec_is_encoded_in_path_query_and_headers() {
        let policy = PolicyRequest {
            timeout: Some(Duration::from_millis(1500)),
            memory: Some(65_536),
            ..PolicyRequest::default()
        };
        let request = request_for(&job_spec(&["--top", "a&b=ü", ""], &["A=1 2", "ü=x=\n"], policy)).unwrap();
        assert_eq!(
            request.uri(),
            "/v1/handlers/a%2Fb/run?arg=--top&arg=a%26b%3D%C3%BC&arg=&policy=%7B%22timeout%22%3A1.5%2C%22memory%22%3A65536%7D"
        );
        let env: Vec<_> = request.headers().get_all("capstan-env").iter().collect();
        assert_eq!(env, ["A=1%202", "%C3%BC=x%3D%0A"]);
        assert_eq!(request_for(&job_spec(&[], &[], PolicyRequest::default())).unwrap().uri(), "/v1/handlers/a%2Fb/run");
    }

    #[test]
    fn arguments_too_long_for_a_request_are_rejected() {
        let long = "x".repeat(MAX_TARGET);
        let error = request_for(&job_spec(&[&long], &[], PolicyRequest::default())).unwrap_err();
        assert!(matches!(error, CliError::RequestTooLong { size, limit: MAX_TARGET } if size > MAX_TARGET));
        let fits = "x".repeat(MAX_TARGET - "/v1/handlers/a%2Fb/run?arg=".len());
        assert!(request_for(&job_spec(&[&fits], &[], PolicyRequest::default())).is_ok());
    }
}
