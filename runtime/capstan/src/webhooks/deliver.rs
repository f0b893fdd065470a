//! [`deliver`]: one run of a delivery.

use std::sync::Arc;

use bytes::Bytes;
use capstan_core::outcome::Outcome;
use capstan_engine::handler::Call;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HOST, USER_AGENT};
use hyper::{Method, Request, StatusCode};
use jiff::Timestamp;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::config::{GONE, NOT_CONFIGURED};
use super::exchange::{Answer, send};
use super::{Webhook, Webhooks};

/// The exit code of a delivery that may succeed later.
const FAILED: u8 = 1;
/// How requests name their sender.
const AGENT: &str = concat!("capstan/", env!("CARGO_PKG_VERSION"));

/// Sends stdin to the webhook that the argument names. Exits with 0 if the receiver answers 2xx.
pub(crate) async fn deliver(webhooks: Arc<Webhooks>, mut call: Call) -> Outcome {
    let name = call.args.first().cloned().unwrap_or_default();
    let Some(webhook) = webhooks.webhooks.get(&name) else {
        let message = format!("webhook {name} is not in the configuration; add [webhooks.{name}], or remove the job");
        return call.fail(NOT_CONFIGURED, message).await;
    };
    let mut body = Vec::new();
    if let Err(error) = call.stdin.read_to_end(&mut body).await {
        return Outcome::HostError { message: error.to_string() };
    }
    let request = signed(webhook, &call.job.to_string(), Timestamp::now().as_second(), body.into());
    let timeout = webhook.config.timeout;
    let sent = tokio::time::timeout(timeout, send(webhook, &webhooks.resolver, request));
    let stop = call.stop.clone();
    let sent = tokio::select! {
        biased;
        outcome = stop.requested() => return outcome,
        sent = sent => sent,
    };
    let endpoint = &webhook.config.endpoint;
    match sent {
        Ok(Ok(answer)) => conclude(&mut call, &format!("webhook {name}: {endpoint}"), answer).await,
        Ok(Err(error)) => call.fail(FAILED, format!("webhook {name}: {error}")).await,
        Err(_) => call.fail(FAILED, format!("webhook {name}: no answer from {endpoint} within {timeout:?}")).await,
    }
}

fn signed(webhook: &Webhook, id: &str, timestamp: i64, body: Bytes) -> Request<Full<Bytes>> {
    let endpoint = &webhook.config.endpoint;
    Request::builder()
        .method(Method::POST)
        .uri(endpoint.path.as_str())
        .header(HOST, &endpoint.authority)
        .header(USER_AGENT, AGENT)
        .header(CONTENT_TYPE, "application/json")
        .header("webhook-id", id)
        .header("webhook-timestamp", timestamp)
        .header("webhook-signature", webhook.key.sign(id, timestamp, &body))
        .body(Full::new(body))
        .expect("a parsed URL, hexadecimal digits, a number and base64 are valid in headers")
}

/// Prints the answer and returns what it means. The last line is the reason that the job has.
async fn conclude(call: &mut Call, receiver: &str, Answer { status, body }: Answer) -> Outcome {
    if status.is_success() {
        // If nobody reads stdout, the exit code alone reports the success.
        let _ = call.stdout.write_all(format!("{status}\n").as_bytes()).await;
        return Outcome::SUCCESS;
    }
    if !body.is_empty() {
        let line_break = if body.ends_with(b"\n") { "" } else { "\n" };
        let _ = call.stderr.write_all(&[&body, line_break.as_bytes()].concat()).await;
    }
    match status {
        StatusCode::GONE => call.fail(GONE, format!("{receiver} answered {status}, so this is not sent again")).await,
        status if status.is_redirection() => {
            call.fail(FAILED, format!("{receiver} answered {status}, and redirects are not followed")).await
        }
        status => call.fail(FAILED, format!("{receiver} answered {status}")).await,
    }
}
