//! [`Outbound`]: decides about the HTTP requests of a guest, and sends them.

pub(super) mod limits;
pub(super) mod secrets;

use std::sync::Arc;

use capstan_core::http::Scheme;
use capstan_core::policy::{HttpDenial, HttpHost, HttpReach, HttpTarget};
use capstan_core::secret::Redaction;
use http::HeaderName;
use http::header::HOST;
use wasmtime_wasi_http::{DEFAULT_FORBIDDEN_HEADERS, Error, RequestOptions, WasiBody, WasiHttpHooks};

use super::client::{Client, Origin, Route};
use crate::network::Network;

/// What the requests of a run may use.
#[derive(Clone, Default)]
pub(crate) struct Outbound {
    pub(crate) reach: Option<Arc<HttpReach>>,
    /// `None` if the program imports nothing that sends requests.
    pub(crate) network: Option<Network>,
    pub(crate) client: Option<Arc<Client>>,
}

/// Why a request is not sent: for the guest, and for the report.
struct Refusal {
    error: Error,
    reason: String,
}

/// Pieces of a body that a guest may write before the first is taken, besides the one that it is about to write.
const BODY_PIECES: usize = 15;
/// Bytes of such a piece. With it, a body holds at most 1 MiB of the daemon's memory.
const BODY_PIECE: usize = 64 << 10;

type Sent = (http::Response<WasiBody>, Box<dyn Future<Output = Result<(), Error>> + Send>);

impl WasiHttpHooks for Outbound {
    fn send_request(
        &mut self,
        request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
        processed: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Result<Sent, Error>> + Send> {
        // It tells how the guest processed the response, which no server learns.
        drop(processed);
        let outbound = self.clone();
        Box::new(async move {
            let response = outbound.send(request, options).await?;
            let finished: Box<dyn Future<Output = _> + Send> = Box::new(std::future::ready(Ok(())));
            Ok((response, finished))
        })
    }

    fn is_forbidden_header(&mut self, name: &HeaderName) -> bool {
        // The default creates a closure on the heap for each field.
        DEFAULT_FORBIDDEN_HEADERS.contains(name)
    }

    fn p2_outgoing_body_buffer_chunks(&mut self) -> usize {
        BODY_PIECES
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        BODY_PIECE
    }

    fn p3_outgoing_body_chunk_size(&mut self) -> usize {
        // The host holds a copy of one chunk of each body.
        64 << 10
    }
}

impl Outbound {
    async fn send(
        &self,
        mut request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
    ) -> Result<http::Response<WasiBody>, Error> {
        let (Some(network), Some(client)) = (&self.network, &self.client) else {
            return Err(Error::HttpRequestDenied);
        };
        let (reach, origin, secrets) = match self.prepare(&mut request) {
            Ok(prepared) => prepared,
            Err(Refusal { error, reason }) => {
                network.deny_request(&describe(request.uri()), &reason);
                return Err(error);
            }
        };
        let route = Route { origin, reach, network: network.clone(), secrets };
        client.send(request, &route, options).await
    }

    /// Checks `request` against the policy and puts the secrets into its fields. Returns what allows it, where it goes, and the secrets.
    fn prepare(&self, request: &mut http::Request<WasiBody>) -> Result<(Arc<HttpReach>, Origin, Redaction), Refusal> {
        limits::check_request(request.uri(), request.headers())
            .map_err(|error| Refusal { reason: error.to_string(), error })?;
        let (method, uri) = (request.method().clone(), request.uri().clone());
        let target = target(method.as_str(), &uri)?;
        check_host_field(request)?;
        let reach = self.reach.clone().ok_or_else(|| denied(HttpDenial::Host))?;
        reach.allows(&target).map_err(denied)?;
        let secrets = secrets::substitute(request.headers_mut(), &reach.substitutions(&target));
        Ok((reach, Origin { scheme: target.scheme, host: target.host, port: target.port }, secrets))
    }
}

fn denied(denial: HttpDenial) -> Refusal {
    let error = match denial {
        HttpDenial::ForbiddenMethod => Error::HttpRequestMethodInvalid,
        HttpDenial::Host | HttpDenial::Method | HttpDenial::Path | HttpDenial::DotSegment => Error::HttpRequestDenied,
    };
    Refusal { error, reason: denial.to_string() }
}

fn invalid_url(reason: &(impl ToString + ?Sized)) -> Refusal {
    Refusal { error: Error::HttpRequestUriInvalid, reason: reason.to_string() }
}

/// Returns what rules look at in a request.
fn target<'a>(method: &'a str, uri: &'a http::Uri) -> Result<HttpTarget<'a>, Refusal> {
    let (scheme, default_port) = match uri.scheme_str() {
        Some("http") => (Scheme::Http, 80),
        Some("https") => (Scheme::Https, 443),
        _ => return Err(invalid_url("the scheme is neither http nor https")),
    };
    let authority = uri.authority().ok_or_else(|| invalid_url("the URL has no host"))?;
    if authority.as_str().contains('@') {
        return Err(invalid_url("the URL has a user or a password"));
    }
    let host = HttpHost::parse(authority.host()).map_err(|error| invalid_url(&error))?;
    let after_host = &authority.as_str()[authority.host().len()..];
    let port = match after_host.strip_prefix(':') {
        None => default_port,
        Some(port) => port.parse().ok().filter(|port| *port != 0).ok_or_else(|| invalid_url("the port is invalid"))?,
    };
    Ok(HttpTarget { method, scheme, host, port, path: uri.path() })
}

/// Checks that the field `host` is the host of the URL, which the rules decide about.
fn check_host_field(request: &http::Request<WasiBody>) -> Result<(), Refusal> {
    let authority = request.uri().authority().map_or("", http::uri::Authority::as_str);
    let is_other = |value: &http::HeaderValue| value.as_bytes() != authority.as_bytes();
    match request.headers().get_all(HOST).iter().any(is_other) {
        true => Err(invalid_url("the field host differs from the host of the URL")),
        false => Ok(()),
    }
}

/// Returns the scheme and authority of a URL for the report, without a password and cut to a reasonable length.
fn describe(uri: &http::Uri) -> String {
    const MAX_SHOWN: usize = 300;
    let authority = uri.authority().map_or("", http::uri::Authority::as_str);
    let host = authority.rsplit('@').next().unwrap_or_default();
    let shown: String = format!("{}://{host}", uri.scheme_str().unwrap_or_default()).chars().take(MAX_SHOWN).collect();
    shown
}

impl std::fmt::Debug for Outbound {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Outbound").field("reach", &self.reach).finish_non_exhaustive()
    }
}
