//! `Response`: a response of the daemon that is not an error.

use bytes::Bytes;
use capstan_listen::listener::Address;
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use hyper::header::{HeaderMap, RETRY_AFTER};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::task::JoinSet;

use super::error::ClientError;

/// The maximum size of a JSON body, in bytes.
const MAX_JSON: usize = 64 << 20;

/// A response whose body has not been read yet. Dropping it closes its connection.
#[derive(Debug)]
pub(in crate::cli) struct Response {
    response: hyper::Response<Incoming>,
    /// Drives the connection. Dropping the set aborts its task.
    connection: JoinSet<hyper::Result<()>>,
}

impl Response {
    pub(super) fn new(response: hyper::Response<Incoming>, connection: JoinSet<hyper::Result<()>>) -> Self {
        Self { response, connection }
    }

    pub(super) fn status(&self) -> hyper::StatusCode {
        self.response.status()
    }

    /// Returns the header fields.
    pub(in crate::cli) fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    /// Returns the next bytes of the body, or `None` at its end. Cancel-safe.
    ///
    /// # Errors
    /// [`ClientError::Disconnected`]
    pub(in crate::cli) async fn chunk(&mut self) -> Result<Option<Bytes>, ClientError> {
        while let Some(frame) = self.response.frame().await {
            if let Ok(data) = frame.map_err(|_| ClientError::Disconnected)?.into_data() {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }

    /// Reads the body as JSON. An empty body is `null`.
    ///
    /// # Errors
    /// [`ClientError::UnexpectedResponse`] if the body cannot be read, is not JSON, or has more than [`MAX_JSON`] bytes.
    pub(super) async fn json(self, address: &Address) -> Result<Value, ClientError> {
        let body = Limited::new(self.response.into_body(), MAX_JSON).collect().await;
        let bytes = body.map_err(|error| ClientError::unexpected_response(address, &error))?.to_bytes();
        if bytes.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&bytes).map_err(|error| ClientError::unexpected_response(address, &error))
    }

    /// Returns the error that a response with an error status reports.
    pub(super) async fn into_error(self, address: &Address) -> ClientError {
        let status = self.status();
        let retry_after = self.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let body = self.json(address).await.unwrap_or_default();
        ClientError::from_body(address, status, body, retry_after)
    }

    /// Takes over the connection of a response with status 101.
    ///
    /// # Errors
    /// [`ClientError::Disconnected`]
    pub(super) async fn into_upgraded(self) -> Result<TokioIo<Upgraded>, ClientError> {
        let Self { response, connection } = self;
        let upgraded = hyper::upgrade::on(response).await.map_err(|_| ClientError::Disconnected)?;
        // The task has handed the connection over, and ends.
        drop(connection);
        Ok(TokioIo::new(upgraded))
    }
}
