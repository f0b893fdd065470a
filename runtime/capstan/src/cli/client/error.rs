//! `ClientError`: why a request to the daemon failed.

use std::io;
use std::time::Duration;

use capstan_listen::listener::Address;
use hyper::StatusCode;
use serde::Deserialize;
use serde_json::Value;

use crate::cli::frames::FrameError;
use crate::cli::io_error;

/// Why there is no response, or why the response is an error.
#[derive(Debug, thiserror::Error)]
pub(in crate::cli) enum ClientError {
    #[error("{}", unreachable_message(.address, .source))]
    Unreachable { address: Address, source: io::Error },
    #[error("the daemon at {address} did not respond within {} s: check its log, or try again", .timeout.as_secs())]
    ResponseTimeout { address: Address, timeout: Duration },
    #[error("no TLS connection to the daemon at {address}: {reason}")]
    Tls { address: Address, reason: String },
    #[error("the daemon closed the connection without a response: {0}")]
    NoResponse(hyper::Error),
    /// The daemon rejected the request. The message is the daemon's own.
    #[error("{message}{}", retry_hint(.retry_after.as_deref()))]
    Rejected { code: String, message: String, retry_after: Option<String> },
    #[error("the connection to the daemon broke before the end of the response")]
    Disconnected,
    #[error("the server at {address} is not a Capstan daemon, or its version does not match this command: {reason}")]
    UnexpectedResponse { address: Address, reason: String },
    #[error("the daemon sent {0}")]
    Frame(#[from] FrameError),
}

impl ClientError {
    /// Returns the error of a response that a daemon of this version does not send.
    pub(super) fn unexpected_response(address: &Address, reason: &impl ToString) -> Self {
        Self::UnexpectedResponse { address: address.clone(), reason: reason.to_string() }
    }

    /// Returns the error that a response with an error status reports in `body`.
    pub(super) fn from_body(address: &Address, status: StatusCode, body: Value, retry_after: Option<String>) -> Self {
        #[derive(Deserialize)]
        struct Body {
            error: Error,
        }
        #[derive(Deserialize)]
        struct Error {
            code: String,
            message: String,
        }
        match (serde_json::from_value(body), status) {
            (Ok(Body { error: Error { code, message } }), _) => Self::Rejected { code, message, retry_after },
            // The HTTP library of the daemon rejects such a head itself, with an empty body.
            (Err(_), StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE | StatusCode::URI_TOO_LONG) => Self::Rejected {
                code: "too_large".to_owned(),
                message: "the arguments and variables are larger than the daemon accepts in the head of a request: \
                          pass large data on stdin"
                    .to_owned(),
                retry_after,
            },
            (Err(_), status) => {
                Self::unexpected_response(address, &format!("it responded with status {status} and without a reason"))
            }
        }
    }
}

fn unreachable_message(address: &Address, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => format!(
            "no daemon is listening on {address} ({}): start one with `capstan daemon`, or name another with -H or CAPSTAN_HOST",
            io_error::describe(error)
        ),
        io::ErrorKind::PermissionDenied => format!(
            "cannot connect to the daemon at {address}: {}: ask its operator for access to the socket, or name another daemon \
             with -H or CAPSTAN_HOST",
            io_error::describe(error)
        ),
        _ => format!(
            "cannot connect to the daemon at {address}: {}: check that it is running, or name another with -H or CAPSTAN_HOST",
            io_error::describe(error)
        ),
    }
}

fn retry_hint(retry_after: Option<&str>) -> String {
    retry_after.map_or_else(String::new, |seconds| format!("; try again in {seconds} s"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unreachable_daemon_error_names_address_reason_and_remedy() {
        let error = |errno| ClientError::Unreachable {
            address: "unix:///s".parse().unwrap(),
            source: io::Error::from_raw_os_error(errno),
        };
        assert_eq!(
            error(2).to_string(),
            "no daemon is listening on unix:///s (no such file or directory): \
             start one with `capstan daemon`, or name another with -H or CAPSTAN_HOST"
        );
        assert!(error(13).to_string().contains("permission denied: ask its operator for access"));
    }

    #[test]
    fn error_response_keeps_code_and_message_of_daemon() {
        let address: Address = "unix:///s".parse().unwrap();
        let error =
            |status: u16, body| ClientError::from_body(&address, StatusCode::from_u16(status).unwrap(), body, None);
        let body = serde_json::json!({"error": {"code": "unknown_handler", "message": "no handler wc"}});
        assert!(
            matches!(error(404, body), ClientError::Rejected { code, message, .. } if code == "unknown_handler" && message == "no handler wc")
        );
        for status in [414, 431] {
            assert!(error(status, Value::Null).to_string().contains("arguments and variables"), "{status}");
        }
        assert!(matches!(error(500, Value::Null), ClientError::UnexpectedResponse { .. }));
    }

    #[test]
    fn busy_daemon_error_says_when_to_retry() {
        let message = |retry_after: Option<&str>| {
            let retry_after = retry_after.map(str::to_owned);
            ClientError::Rejected { code: "busy".into(), message: "busy".into(), retry_after }.to_string()
        };
        assert_eq!(message(Some("1")), "busy; try again in 1 s");
        assert_eq!(message(None), "busy");
    }
}
