//! [`Exchange`]: an HTTP request that a job answers, and the response, in plain data.
//!
//! The bodies are streams of the job: that of the request is its stdin, and that of the response its stdout. An exchange has the rest: the
//! two heads, and the trailers after each body.
//!
//! ```text
//! caller                                  run
//! PendingResponse ◀── ResponseHead ────── Responder
//!        Trailers ◀──────────────────────── Trailers    after stdout
//!        Trailers ───────────────────────▶ Trailers    after stdin
//! ```

mod fields;
mod head;
mod signature;

use std::sync::{Arc, OnceLock};

use tokio::sync::oneshot;

pub use self::fields::Fields;
pub use self::head::{RequestHead, ResponseHead, Scheme};
pub use self::signature::{SignatureRule, SignatureScheme};

/// What a run gets to answer a request. Dropping it without a response tells the caller that there is none.
#[derive(Debug)]
pub struct Exchange {
    pub request: RequestHead,
    /// The fields after the body of the request. They are there once stdin has ended.
    pub request_trailers: Trailers,
    pub responder: Responder,
}

/// Sends the head of the response.
#[derive(Debug)]
pub struct Responder {
    head: oneshot::Sender<SentHead>,
    trailers: Trailers,
}

/// The response, as the caller waits for it.
#[derive(Debug)]
pub struct PendingResponse {
    head: oneshot::Receiver<SentHead>,
    /// Whether the run had written the whole body when it sent the head. The end of the run follows at once then, as a rule.
    pub is_whole: bool,
    /// The fields after the body of the response. They are there once stdout has ended.
    pub trailers: Trailers,
}

#[derive(Debug)]
struct SentHead {
    head: ResponseHead,
    is_whole: bool,
}

/// The fields after a body. They are set before the body ends, and at most once.
#[derive(Clone, Debug, Default)]
pub struct Trailers(Arc<OnceLock<Fields>>);

impl Exchange {
    /// Creates an exchange for `request`. The caller sets `request_trailers` before it ends the body.
    pub fn new(request: RequestHead, request_trailers: Trailers) -> (Self, PendingResponse) {
        let (sender, receiver) = oneshot::channel();
        let trailers = Trailers::default();
        let responder = Responder { head: sender, trailers: trailers.clone() };
        (Self { request, request_trailers, responder }, PendingResponse { head: receiver, is_whole: false, trailers })
    }
}

impl Responder {
    /// Sends the head, and returns where the trailers of the response go. If the caller waits no longer, the head is dropped.
    pub fn send(self, head: ResponseHead) -> Trailers {
        let _ = self.head.send(SentHead { head, is_whole: false });
        self.trailers
    }

    /// Sends the head of a response whose body and `trailers` are written already.
    pub fn send_whole(self, head: ResponseHead, trailers: Option<Fields>) {
        if let Some(fields) = trailers {
            self.trailers.set(fields);
        }
        let _ = self.head.send(SentHead { head, is_whole: true });
    }
}

impl PendingResponse {
    /// Waits for the head. Returns `None` if the run ends without one.
    ///
    /// Cancel-safe. Must not be called again after it has returned.
    pub async fn head(&mut self) -> Option<ResponseHead> {
        let SentHead { head, is_whole } = (&mut self.head).await.ok()?;
        self.is_whole = is_whole;
        Some(head)
    }
}

impl Trailers {
    /// Sets the fields. Later calls have no effect.
    pub fn set(&self, fields: Fields) {
        let _ = self.0.set(fields);
    }

    /// Returns the fields, or `None` if there are none or the body has not ended.
    pub fn get(&self) -> Option<&Fields> {
        self.0.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> RequestHead {
        RequestHead {
            method: "GET".to_owned(),
            scheme: Scheme::Http,
            authority: "example.com".to_owned(),
            path_and_query: "/".to_owned(),
            fields: Fields::new(),
        }
    }

    #[tokio::test]
    async fn exchange_dropped_without_a_response_tells_the_caller() {
        let (exchange, mut pending) = Exchange::new(request(), Trailers::default());
        drop(exchange);
        assert_eq!(pending.head().await, None);
    }

    #[tokio::test]
    async fn response_arrives_with_its_trailers() {
        let (exchange, mut pending) = Exchange::new(request(), Trailers::default());
        let head = ResponseHead { status: 204, fields: [("x-a", "1")].into_iter().collect() };
        let trailers = exchange.responder.send(head.clone());
        assert_eq!(pending.head().await, Some(head));
        assert_eq!(pending.trailers.get(), None);
        trailers.set([("x-b", "2")].into_iter().collect());
        assert_eq!(pending.trailers.get().unwrap().get("x-b"), Some(&b"2"[..]));
    }

    #[tokio::test]
    async fn whole_response_arrives_after_its_trailers() {
        let (exchange, mut pending) = Exchange::new(request(), Trailers::default());
        let head = ResponseHead { status: 200, fields: Fields::new() };
        exchange.responder.send_whole(head.clone(), Some([("x-a", "1")].into_iter().collect()));
        assert_eq!(pending.head().await, Some(head));
        assert!(pending.is_whole && pending.trailers.get().is_some());
    }
}
