//! Jobs that answer HTTP requests: components of the world `wasi:http/proxy`, and of `wasi:http/service` in [`preview3`].
//!
//! The body of the request is the stdin of the job and that of the response its stdout, with their limits and counters. What the guest itself
//! writes to its standard output goes to the stderr of the job.

mod incoming;
mod outgoing;
pub(super) mod preview3;
mod response;

use wasmtime::Store;
use wasmtime_wasi::WasiView as _;
use wasmtime_wasi_http::p2::bindings::ProxyPre;
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use capstan_core::http::{Exchange, RequestHead, Scheme};
use capstan_core::outcome::Outcome;
use capstan_core::usage::Usage;
use std::time::Instant;
use tokio::sync::oneshot;

use self::incoming::RequestBody;
use self::outgoing::Outbound;
use super::host::Host;

/// What the calls of `wasi:http` of a run use.
#[derive(Debug)]
pub(super) struct HttpState {
    /// The request to answer, until the guest gets it.
    exchange: Option<Box<Exchange>>,
    context: WasiHttpCtx,
    outbound: Outbound,
}

impl HttpState {
    pub(super) fn new(exchange: Option<Box<Exchange>>) -> Self {
        Self { exchange, context: WasiHttpCtx::new(), outbound: Outbound }
    }

    /// Returns whether there is a request to answer.
    pub(super) fn has_exchange(&self) -> bool {
        self.exchange.is_some()
    }

    pub(super) fn take_exchange(&mut self) -> Option<Exchange> {
        self.exchange.take().map(|exchange| *exchange)
    }
}

impl WasiHttpView for Host {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        let HttpState { context, outbound, .. } = &mut self.http;
        WasiHttpCtxView { ctx: context, table: self.wasi.ctx().table, hooks: outbound }
    }
}

/// Instantiates the component and lets it answer `exchange`. Returns when the guest has returned and its response was taken.
///
/// # Errors
/// If the guest traps or exits.
pub(super) async fn answer(
    proxy: &ProxyPre<Host>,
    store: &mut Store<Host>,
    exchange: Exchange,
    usage: &Usage,
) -> wasmtime::Result<Outcome> {
    let started = Instant::now();
    let proxy = proxy.instantiate_async(&mut *store).await?;
    usage.instantiate.add_time(started.elapsed());
    let Exchange { request, request_trailers, responder } = exchange;
    let scheme = match request.scheme {
        Scheme::Http => wasmtime_wasi_http::p2::bindings::http::types::Scheme::Http,
        Scheme::Https => wasmtime_wasi_http::p2::bindings::http::types::Scheme::Https,
    };
    let host = store.data_mut();
    let body = RequestBody::new(host.stdin.clone(), request_trailers);
    let (output, errors) = (host.stdout.clone(), host.stderr.clone());
    let request = host.http().new_incoming_request(scheme, to_request(request, body)?)?;
    let (sender, receiver) = oneshot::channel();
    let outparam = host.http().new_response_outparam(sender)?;
    let handle = proxy.wasi_http_incoming_handler().call_handle(&mut *store, request, outparam);
    let send = response::send(receiver, responder, &output);
    let (mut handle, mut send) = (std::pin::pin!(handle), std::pin::pin!(send));
    // A guest that fails ends the run, whatever it has sent. One that returns has its response taken to its end.
    let sent = tokio::select! {
        biased;
        handled = &mut handle => {
            handled?;
            send.await
        }
        sent = &mut send => {
            handle.await?;
            sent
        }
    };
    response::report(sent, &errors).await
}

/// Returns why a program cannot run: it answers requests and there is none, or the other way round.
pub(super) fn explain(has_request: bool) -> String {
    match has_request {
        true => "the program does not answer HTTP requests: it exports no wasi:http/incoming-handler and no wasi:http/handler".to_owned(),
        false => "the program answers HTTP requests, so it has no main function to run: send a request to /x/NAME/"
            .to_owned(),
    }
}

/// Converts a request to the types of wasmtime-wasi-http.
///
/// # Errors
/// If its method, authority, path or a field is none that HTTP allows.
fn to_request(head: RequestHead, body: RequestBody) -> wasmtime::Result<http::Request<RequestBody>> {
    let uri = http::Uri::builder()
        .scheme(head.scheme.as_str())
        .authority(head.authority)
        .path_and_query(head.path_and_query)
        .build()?;
    let mut request = http::Request::new(body);
    *request.method_mut() = http::Method::from_bytes(head.method.as_bytes())?;
    *request.uri_mut() = uri;
    *request.headers_mut() = response::to_header_map(&head.fields)?;
    Ok(request)
}
