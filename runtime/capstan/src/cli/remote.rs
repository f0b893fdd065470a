//! A run through the daemon: stdin goes up while output and outcome come down.

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

use super::client::{Body, Client, ClientError, URL, request};
use super::error::CliError;
use super::exit_code::Ending;
use super::frames::{FrameError, Frames, MEDIA_TYPE, Piece};
use super::interrupt::Interrupt;
use super::run::Given;
use super::{handlers, output, program, push};

/// Bytes of the longest request target, a bound of HTTP libraries on both sides.
const MAX_TARGET: usize = 65_534;

/// What was read of stdin when it failed; hyper tells only that the body did.
type StdinError = Arc<OnceLock<io::Error>>;

/// Runs a handler; closes the exchange, by which the daemon cancels the run, when the user interrupts.
///
/// # Errors
/// [`CliError`]
pub(super) async fn run(
    client: &Client,
    name: &str,
    given: &Given,
    interrupt: &mut Interrupt,
) -> Result<Ending, CliError> {
    let mut job = None;
    let ended = tokio::select! {
        ended = exchange(client, name, given, &mut job) => Some(ended),
        () = interrupt.received() => None,
    };
    ended.unwrap_or_else(|| Ok(Ending::stopped(job, name)))
}

/// Runs a program that the daemon has for this run only.
///
/// # Errors
/// [`CliError`]
pub(super) async fn run_file(
    client: &Client,
    file: &Path,
    given: &Given,
    interrupt: &mut Interrupt,
) -> Result<Ending, CliError> {
    let work = async |name: &str, interrupt: &mut Interrupt| run(client, name, given, interrupt).await;
    let ended = with_pushed(client, file, given, interrupt, work);
    Ok(ended.await?.unwrap_or_else(|name| Ending::stopped(None, &name)))
}

/// Reads the program in `file`, pushes it under a name that nobody else has and with the features that are `given`, does `work` with it,
/// and removes it again however that ended. Returns the name where the user interrupted before the work began.
///
/// # Errors
/// [`CliError`]
pub(super) async fn with_pushed<T>(
    client: &Client,
    file: &Path,
    given: &Given,
    interrupt: &mut Interrupt,
    work: impl AsyncFnOnce(&str, &mut Interrupt) -> Result<T, CliError>,
) -> Result<Result<T, String>, CliError> {
    let wasm = program::read(file)?;
    let name = format!("run-{:016x}", super::random());
    let pushed = tokio::select! {
        pushed = push::put(client, &name, wasm, Some(manifest(file, given))) => pushed.map(Some),
        () = interrupt.received() => Ok(None),
    };
    let done = match pushed? {
        Some(_) => work(&name, interrupt).await.map(Ok),
        None => Ok(Err(name.clone())),
    };
    tokio::select! {
        removed = handlers::remove(client, &name) => match removed {
            // An interrupted push has not changed anything, unless it was just done.
            Ok(()) => {}
            Err(ClientError::Refused { code, .. }) if code == "unknown_handler" => {}
            Err(error) => output::complain(format_args!("handler {name} is left on the daemon: {error}")),
        },
        () = interrupt.received() => output::complain(format_args!("handler {name} is left on the daemon")),
    }
    done
}

/// What is not a matter of each run: what the program is called, and its features.
fn manifest(file: &Path, given: &Given) -> Bytes {
    let policy = PolicyRequest { features: given.asked.features.clone(), ..PolicyRequest::EMPTY };
    let manifest = Manifest { policy, argv0: Some(program::argv0(file)), ..Manifest::default() };
    toml::to_string(&manifest).expect("plain data").into()
}

async fn exchange(client: &Client, name: &str, given: &Given, job: &mut Option<String>) -> Result<Ending, CliError> {
    let failed = StdinError::default();
    let request = run_request(name, given, stdin(failed.clone()))?;
    let result = receive(client, request, job).await;
    match failed.get() {
        // The daemon sees a request that was cut off; what cut it is here.
        Some(error) if result.is_err() => Err(CliError::Stdin(io::Error::new(error.kind(), error.to_string()))),
        _ => result,
    }
}

async fn receive(client: &Client, request: Request<Body>, job: &mut Option<String>) -> Result<Ending, CliError> {
    let mut answer = client.exchange(request).await?;
    let text = |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok());
    *job = text("capstan-job").map(str::to_owned);
    if text(CONTENT_TYPE.as_str()) != Some(MEDIA_TYPE) {
        return Err(client.foreign(&"it does not answer a run in frames").into());
    }
    let mut frames = Frames::default();
    let (mut stdout, mut stderr) = (tokio::io::stdout(), tokio::io::stderr());
    while let Some(bytes) = answer.chunk().await? {
        frames.push(&bytes);
        while let Some(piece) = frames.next().map_err(ClientError::Frame)? {
            match piece {
                Piece::Stdout(bytes) => {
                    output::pass_on(&mut stdout, &bytes).await.map_err(output::to(OutputStream::Stdout))?
                }
                Piece::Stderr(bytes) => {
                    output::pass_on(&mut stderr, &bytes).await.map_err(output::to(OutputStream::Stderr))?
                }
                Piece::Outcome(json) => return read_ending(&json),
                Piece::Gap(_) => return Err(ClientError::Frame(FrameError::Missing).into()),
            }
        }
    }
    frames.end().map_err(ClientError::Frame)?;
    Err(ClientError::Broken.into())
}

/// Reads how a run ended.
///
/// # Errors
/// [`CliError`]
pub(super) fn read_ending(json: &[u8]) -> Result<Ending, CliError> {
    let unreadable = |error: serde_json::Error| ClientError::Frame(FrameError::Outcome(error.to_string()));
    Ok(serde_json::from_slice(json).map_err(unreadable)?)
}

/// Stdin as it comes: the next piece is read when the daemon has taken the one before.
fn stdin(failed: StdinError) -> Body {
    let pieces = ReaderStream::with_capacity(tokio::io::stdin(), PIPE_CAPACITY).map(move |piece| match piece {
        Ok(bytes) => Ok(Frame::data(bytes)),
        Err(error) => {
            let kind = error.kind();
            // A stream that has failed is not read again.
            let _ = failed.set(error);
            Err(io::Error::from(kind))
        }
    });
    StreamBody::new(pieces).boxed_unsync()
}

fn run_request(name: &str, given: &Given, body: Body) -> Result<Request<Body>, CliError> {
    let target = target(name, given);
    if target.len() > MAX_TARGET {
        return Err(CliError::TooManyArguments(target.len(), MAX_TARGET));
    }
    let mut request = request(Method::POST, &target).header(ACCEPT, MEDIA_TYPE);
    for (name, value) in given.env.iter() {
        let pair = format!("{}={}", utf8_percent_encode(name, URL), utf8_percent_encode(value, URL));
        request = request.header("capstan-env", pair);
    }
    Ok(request.body(body).expect("path, query and headers are encoded"))
}

fn target(name: &str, given: &Given) -> String {
    let mut query = Vec::new();
    query.extend(given.args.iter().map(|arg| format!("arg={}", utf8_percent_encode(arg, URL))));
    if given.asked != PolicyRequest::EMPTY {
        let policy = serde_json::to_string(&given.asked).expect("plain data");
        query.push(format!("policy={}", utf8_percent_encode(&policy, URL)));
    }
    let key = given.concurrency_key.as_ref();
    query.extend(key.map(|key| format!("concurrency_key={}", utf8_percent_encode(key, URL))));
    let path = format!("/handlers/{}/run", utf8_percent_encode(name, URL));
    if query.is_empty() { path } else { format!("{path}?{}", query.join("&")) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use capstan_core::env::Env;
    use http_body_util::Empty;

    use super::*;

    fn given(args: &[&str], env: &[&str], asked: PolicyRequest) -> Given {
        let mut variables = Env::new();
        for pair in env {
            variables.set_pair(pair).unwrap();
        }
        Given { args: args.iter().copied().map(str::to_owned).collect(), env: variables, asked, concurrency_key: None }
    }

    fn request_of(given: &Given) -> Result<Request<Body>, CliError> {
        run_request("a/b", given, Empty::new().map_err(|never| match never {}).boxed_unsync())
    }

    #[test]
    fn what_a_run_is_given_travels_encoded() {
        let asked = PolicyRequest {
            timeout: Some(Duration::from_millis(1500)),
            memory: Some(65_536),
            ..PolicyRequest::default()
        };
        let request = request_of(&given(&["--top", "a&b=ü", ""], &["A=1 2", "ü=x=\n"], asked)).unwrap();
        assert_eq!(
            request.uri(),
            "/v1/handlers/a%2Fb/run?arg=--top&arg=a%26b%3D%C3%BC&arg=&policy=%7B%22timeout%22%3A1.5%2C%22memory%22%3A65536%7D"
        );
        let env: Vec<_> = request.headers().get_all("capstan-env").iter().collect();
        assert_eq!(env, ["A=1%202", "%C3%BC=x%3D%0A"]);
        assert_eq!(request_of(&given(&[], &[], PolicyRequest::default())).unwrap().uri(), "/v1/handlers/a%2Fb/run");
    }

    #[test]
    fn more_arguments_than_a_request_can_carry_are_refused_here() {
        let long = "x".repeat(MAX_TARGET);
        let error = request_of(&given(&[&long], &[], PolicyRequest::default())).unwrap_err();
        assert!(matches!(error, CliError::TooManyArguments(size, MAX_TARGET) if size > MAX_TARGET));
        let fits = "x".repeat(MAX_TARGET - "/v1/handlers/a%2Fb/run?arg=".len());
        assert!(request_of(&given(&[&fits], &[], PolicyRequest::default())).is_ok());
    }
}
