//! Jobs that answer HTTP requests: components of the world `wasi:http/proxy`, and of `wasi:http/service` in [`preview3`].
//!
//! The body of the request is the stdin of the job and that of the response its stdout, with their limits and counters. What the guest itself
//! writes to its standard output goes to the stderr of the job.

mod client;
mod incoming;
mod instance;
mod instances;
mod outgoing;
pub(super) mod preview3;
mod response;
pub(super) mod state;
mod turns;

use wasmtime::Store;
use wasmtime_wasi::WasiView as _;
use wasmtime_wasi_http::p2::bindings::ProxyPre;
use wasmtime_wasi_http::{WasiHttpCtxView, WasiHttpView};

use capstan_core::http::{Exchange, RequestHead, Scheme};
use capstan_core::outcome::Outcome;
use capstan_core::usage::Usage;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::oneshot;

pub(super) use self::client::{Client, IdleConnections};
pub use self::client::{InvalidRoots, TrustedRoots};
use self::incoming::RequestBody;
pub(super) use self::instance::Instance;
pub(super) use self::instances::{IdleCount, Instances, Lease, MAX_IDLE};
use self::state::HttpState;
use super::host::Host;

/// What the runs of one handler share.
#[derive(Debug)]
pub(super) struct HandlerResources {
    /// Sends their requests.
    pub(super) client: Arc<Client>,
    /// The instances that wait. `None` if each request gets a new one.
    pub(super) instances: Option<Arc<Instances>>,
}

impl WasiHttpView for Host {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        let HttpState { context, outbound, .. } = &mut self.http;
        WasiHttpCtxView { ctx: context, table: self.wasi.ctx().table, hooks: outbound }
    }
}

/// Instantiates the component, unless there is an `instance`, and lets it answer `exchange`. Returns when the guest has returned and its
/// response was taken. The instance counts the request if it was answered to its end.
///
/// # Errors
/// If the guest traps or exits.
pub(super) async fn answer(
    proxy: &ProxyPre<Host>,
    instance: &mut Option<Instance>,
    store: &mut Store<Host>,
    exchange: Exchange,
    usage: &Usage,
) -> wasmtime::Result<Outcome> {
    let instance = match instance {
        Some(instance) => instance,
        None => {
            let started = Instant::now();
            let created = Instance::new(proxy, store).await?;
            usage.instantiate.add_time(started.elapsed());
            instance.insert(created)
        }
    };
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
    let handle = instance.proxy.wasi_http_incoming_handler().call_handle(&mut *store, request, outparam);
    let send = response::send(receiver, responder, &output);
    // A guest that fails ends the run, whatever it has sent. One that returns has its response taken to its end.
    let sent = turns::take_turns(handle, send, || usage.stdout_bytes.get()).await?;
    if sent.is_ok() {
        instance.answered += 1;
    }
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
