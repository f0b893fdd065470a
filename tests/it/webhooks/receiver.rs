//! `Receiver`: an HTTP server that records what webhooks send, and answers as a test says.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use capstan_tests::tls::Leaf;
use capstan_tests::within;
use hmac::{Hmac, Mac as _};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::LOCATION;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{HeaderMap, Method, Request, Response};
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::Value;
use sha2::Sha256;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// The key of all webhooks in the tests.
pub(crate) const KEY: &[u8] = b"0123456789abcdef0123456789abcdef";

/// How one request is answered.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    Status(u16, &'static str),
    Redirect(String),
    /// Never.
    Hang,
}

/// A request that was received.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// A receiver, until it is dropped.
#[derive(Debug)]
pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    received: mpsc::UnboundedReceiver<Received>,
    _server: JoinSet<()>,
}

/// A socket with an address of its own that refuses connections until it listens.
pub(crate) fn refusing() -> (TcpSocket, SocketAddr) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

impl Receiver {
    /// Starts a receiver that answers as `answers` say, in their order, and all later requests with 204.
    pub(crate) fn start<const N: usize>(answers: [Answer; N]) -> Self {
        Self::listen(refusing().0, answers, None)
    }

    /// Like [`Receiver::start`], over TLS.
    pub(crate) fn start_tls(leaf: &Leaf) -> Self {
        let chain = CertificateDer::pem_slice_iter(leaf.chain.as_bytes()).map(Result::unwrap).collect();
        let key = PrivateKeyDer::from_pem_slice(leaf.key.as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = config.with_no_client_auth().with_single_cert(chain, key).unwrap();
        Self::listen(refusing().0, [], Some(TlsAcceptor::from(Arc::new(config))))
    }

    /// Starts to listen on `socket`.
    pub(crate) fn listen<const N: usize>(socket: TcpSocket, answers: [Answer; N], tls: Option<TlsAcceptor>) -> Self {
        let listener = socket.listen(64).unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, received) = mpsc::unbounded_channel();
        let mut server = JoinSet::new();
        server.spawn(serve(listener, Arc::new(Mutex::new(answers.into())), sender, tls));
        Self { address, received, _server: server }
    }

    /// Returns the next request, once it has arrived.
    pub(crate) async fn next(&mut self) -> Received {
        within("a request of a webhook", self.received.recv()).await.expect("the receiver runs")
    }

    /// Returns how many further requests have arrived.
    pub(crate) fn count(&mut self) -> usize {
        std::iter::from_fn(|| self.received.try_recv().ok()).count()
    }

    /// Checks that no further request has arrived.
    pub(crate) fn assert_no_more(&mut self) {
        let more = self.received.try_recv();
        assert!(more.is_err(), "{more:?}");
    }
}

impl Received {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("no {name} in {self:?}")).to_str().unwrap()
    }

    /// Returns the body as JSON, after a check of the signature as receivers do it.
    pub(crate) fn verified(&self) -> Value {
        let mut mac = Hmac::<Sha256>::new_from_slice(KEY).unwrap();
        mac.update(format!("{}.{}.", self.header("webhook-id"), self.header("webhook-timestamp")).as_bytes());
        mac.update(&self.body);
        let signature = self.header("webhook-signature").strip_prefix("v1,").expect("a version");
        mac.verify_slice(&BASE64_STANDARD.decode(signature).unwrap()).expect("the signature is valid");
        serde_json::from_slice(&self.body).unwrap()
    }
}

async fn serve(
    listener: TcpListener,
    answers: Arc<Mutex<VecDeque<Answer>>>,
    sender: mpsc::UnboundedSender<Received>,
    tls: Option<TlsAcceptor>,
) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (answers, sender, tls) = (answers.clone(), sender.clone(), tls.clone());
        connections.spawn(async move {
            match tls {
                None => serve_connection(stream, &answers, &sender).await,
                Some(tls) => {
                    // A client that does not trust the certificate ends the handshake.
                    if let Ok(stream) = tls.accept(stream).await {
                        serve_connection(stream, &answers, &sender).await;
                    }
                }
            }
        });
    }
}

async fn serve_connection(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    answers: &Mutex<VecDeque<Answer>>,
    sender: &mpsc::UnboundedSender<Received>,
) {
    let service = service_fn(|request| answer(request, answers, sender));
    // A daemon that is killed breaks the connection off.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(
    request: Request<Incoming>,
    answers: &Mutex<VecDeque<Answer>>,
    sender: &mpsc::UnboundedSender<Received>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let Ok(body) = body.collect().await else { return std::future::pending().await };
    let next = answers.lock().unwrap().pop_front().unwrap_or(Answer::Status(204, ""));
    let path = head.uri.to_string();
    // A test that has ended does not read.
    let _ = sender.send(Received { method: head.method, path, headers: head.headers, body: body.to_bytes() });
    Ok(match next {
        Answer::Status(status, body) => Response::builder().status(status).body(Full::from(body)).unwrap(),
        Answer::Redirect(to) => Response::builder().status(307).header(LOCATION, to).body(Full::default()).unwrap(),
        Answer::Hang => std::future::pending().await,
    })
}
