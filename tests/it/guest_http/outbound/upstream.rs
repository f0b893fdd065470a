//! A server for the requests of guests: HTTP/1.1, HTTP/2 and TLS. Its path selects what it does.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use capstan_tests::tls::Leaf;
use futures_util::{StreamExt as _, stream};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// What the server saw.
#[derive(Default)]
struct Seen {
    connections: AtomicUsize,
    /// Connections that have not ended.
    open: AtomicUsize,
    /// Each request: the version, the method, the URL and the fields, one per line.
    requests: Mutex<Vec<String>>,
}

/// The server. Dropping it closes everything.
pub(super) struct Upstream {
    pub(super) address: SocketAddr,
    seen: Arc<Seen>,
    _task: JoinSet<()>,
}

impl Upstream {
    pub(super) async fn http() -> Self {
        Self::start(None).await
    }

    /// Starts a server with TLS that offers `protocols`.
    pub(super) async fn https(own: &Leaf, protocols: &[&str]) -> Self {
        let chain = CertificateDer::pem_slice_iter(own.chain.as_bytes()).map(Result::unwrap).collect();
        let key = PrivateKeyDer::from_pem_slice(own.key.as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let mut config = config.with_no_client_auth().with_single_cert(chain, key).unwrap();
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        Self::start(Some(TlsAcceptor::from(Arc::new(config)))).await
    }

    async fn start(tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Seen::default());
        let mut task = JoinSet::new();
        let own = seen.clone();
        task.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                own.connections.fetch_add(1, Ordering::SeqCst);
                own.open.fetch_add(1, Ordering::SeqCst);
                let (seen, tls) = (own.clone(), tls.clone());
                connections.spawn(async move {
                    match tls {
                        None => serve(stream, false, &seen).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                                serve(stream, is_http2, &seen).await;
                            }
                        }
                    }
                    seen.open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self { address, seen, _task: task }
    }

    pub(super) fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::SeqCst)
    }

    pub(super) fn open(&self) -> usize {
        self.seen.open.load(Ordering::SeqCst)
    }

    pub(super) fn requests(&self) -> Vec<String> {
        self.seen.requests.lock().unwrap().clone()
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static, is_http2: bool, seen: &Arc<Seen>) {
    let service = service_fn(|request| {
        let seen = seen.clone();
        async move { Ok::<_, Infallible>(answer(request, &seen).await) }
    });
    let stream = TokioIo::new(stream);
    if is_http2 {
        let _ = http2::Builder::new(TokioExecutor::new()).serve_connection(stream, service).await;
    } else {
        let _ = http1::Builder::new().serve_connection(stream, service).await;
    }
}

type Body = BoxBody<Bytes, Infallible>;

async fn answer(request: Request<Incoming>, seen: &Seen) -> Response<Body> {
    let mut line = format!("{:?} {} {}\n", request.version(), request.method(), request.uri());
    for (name, value) in request.headers() {
        line += &format!("{name}: {}\n", String::from_utf8_lossy(value.as_bytes()));
    }
    seen.requests.lock().unwrap().push(line);
    let authorization = request.headers().get("authorization").cloned();
    match request.uri().path().rsplit('/').next().unwrap_or_default() {
        "never" => std::future::pending().await,
        "endless" => streamed(stream::repeat(Bytes::from_static(&[b'y'; 4096])).boxed()),
        "stalled" => {
            let start = stream::once(std::future::ready(Bytes::from_static(b"start")));
            streamed(start.chain(stream::pending()).boxed())
        }
        "fields" => {
            let mut response = text("many");
            for index in 0..500 {
                let name = hyper::header::HeaderName::try_from(format!("x-{index}")).unwrap();
                response.headers_mut().insert(name, "v".parse().unwrap());
            }
            response
        }
        "long-field" => {
            let mut response = text("long");
            response.headers_mut().insert("x-long", "v".repeat(100_000).parse().unwrap());
            response
        }
        "redirect" => {
            let mut response = text("elsewhere");
            *response.status_mut() = hyper::StatusCode::FOUND;
            response.headers_mut().insert("location", "/hello".parse().unwrap());
            response
        }
        "reflect" => {
            let mut response =
                text(&format!("<{}>", authorization.as_ref().map_or("none", |value| value.to_str().unwrap())));
            if let Some(value) = authorization {
                response.headers_mut().insert("x-reflected", value);
            }
            response
        }
        "discard" => {
            let mut body = request.into_body();
            while let Some(Ok(_)) = body.frame().await {}
            text("discarded")
        }
        "count" => text(&request.into_body().collect().await.map_or(0, |body| body.to_bytes().len()).to_string()),
        _ => text("hello"),
    }
}

fn text(text: &str) -> Response<Body> {
    Response::new(Full::new(Bytes::from(text.to_owned())).boxed())
}

fn streamed(pieces: stream::BoxStream<'static, Bytes>) -> Response<Body> {
    let frames = pieces.map(|piece| Ok::<_, Infallible>(Frame::data(piece)));
    let body = StreamBody::new(SyncStream(Mutex::new(Box::pin(frames))));
    Response::new(BodyExt::boxed(body))
}

/// A stream that is `Sync`, as bodies must be.
struct SyncStream(Mutex<Pieces>);

type Pieces = std::pin::Pin<Box<dyn futures_util::Stream<Item = Result<Frame<Bytes>, Infallible>> + Send>>;

impl futures_util::Stream for SyncStream {
    type Item = Result<Frame<Bytes>, Infallible>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        self.0.get_mut().unwrap().as_mut().poll_next(cx)
    }
}
