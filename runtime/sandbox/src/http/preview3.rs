//! Components that export `wasi:http/handler` of WASI 0.3.

use std::time::Instant;

use capstan_core::http::Exchange;
use capstan_core::outcome::Outcome;
use capstan_core::usage::Usage;
use wasmtime::Store;
use wasmtime_wasi_http::WasiHttpView as _;
use wasmtime_wasi_http::p3::Request;
use wasmtime_wasi_http::p3::bindings::ServicePre;

use super::incoming::RequestBody;
use super::response::{self, ResponseError};
use crate::host::Host;

/// Instantiates the component and lets it answer `exchange`. Returns when its response was taken and its tasks have ended, also those that
/// run after it has returned the response.
///
/// # Errors
/// If the guest traps or exits.
pub(crate) async fn answer(
    service: &ServicePre<Host>,
    store: &mut Store<Host>,
    exchange: Exchange,
    usage: &Usage,
) -> wasmtime::Result<Outcome> {
    let started = Instant::now();
    let service = service.instantiate_async(&mut *store).await?;
    usage.instantiate.add_time(started.elapsed());
    let Exchange { request, request_trailers, responder } = exchange;
    let host = store.data_mut();
    let body = RequestBody::new(host.stdin.clone(), request_trailers);
    let (output, errors) = (host.stdout.clone(), host.stderr.clone());
    let request = super::to_request(request, body)?;
    let (request, received) = Request::from_http(host.http().hooks, request);
    let sent = store
        .run_concurrent(async |accessor| -> wasmtime::Result<Result<(), ResponseError>> {
            let response = match service.handle(accessor, request).await? {
                Ok(response) => response,
                Err(code) => return Ok(Err(ResponseError::Guest(format!("{code:?}")))),
            };
            let response = accessor.with(|store| response.into_http(store, received))?;
            let sent = response::send_response(response, responder, &output).await;
            if sent.is_ok() {
                std::future::poll_fn(|cx| accessor.poll_no_interesting_tasks(cx)).await;
            }
            Ok(sent)
        })
        .await??;
    response::report(sent, &errors).await
}
