//! The handshake of a WebSocket (RFC 6455, section 4.2).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::Method;
use hyper::header::{
    HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION,
};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::error::Error;
use super::headers::{WEBSOCKET, WEBSOCKET_VERSION};
use super::request::Request;
use super::upgrade::Upgrade;

/// Bytes of the key from which the server computes the proof that it understood the request.
const KEY_LENGTH: usize = 16;

/// Reads a request to upgrade to a WebSocket that speaks `subprotocol`.
///
/// A client need not request a subprotocol, but if it does, `subprotocol` must be among those it lists. No extensions are negotiated.
///
/// # Errors
/// [`Error`]: 426 for a request without an upgrade to a WebSocket, or to another version; 400 for an invalid key, and where the client
/// requests other subprotocols only.
pub(super) async fn upgrade(request: &mut Request, subprotocol: &'static str) -> Result<Upgrade, Error> {
    if request.head.method != Method::GET {
        return Err(Error::upgrade_required(WEBSOCKET));
    }
    let upgrade = Upgrade::from_request(request, WEBSOCKET).await?;
    if single_value(request, &SEC_WEBSOCKET_VERSION) != Some(WEBSOCKET_VERSION) {
        return Err(Error::websocket_version());
    }
    let is_key = |key: &&str| STANDARD.decode(key).is_ok_and(|key| key.len() == KEY_LENGTH);
    let key = single_value(request, &SEC_WEBSOCKET_KEY).filter(is_key).ok_or_else(|| {
        Error::bad_request(format!("the request must have one Sec-WebSocket-Key of {KEY_LENGTH} bytes in Base64"))
    })?;
    let accept = HeaderValue::from_str(&derive_accept_key(key.as_bytes())).expect("Base64 is header text");
    let upgrade = upgrade.with_header(SEC_WEBSOCKET_ACCEPT, accept);
    if !request.head.headers.contains_key(SEC_WEBSOCKET_PROTOCOL) {
        return Ok(upgrade);
    }
    if !request.header_lists(&SEC_WEBSOCKET_PROTOCOL, subprotocol) {
        let message = format!("none of the subprotocols in Sec-WebSocket-Protocol is supported; use {subprotocol}");
        return Err(Error::bad_request(message));
    }
    Ok(upgrade.with_header(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(subprotocol)))
}

/// Returns the value of a header that occurs once.
fn single_value<'a>(request: &'a Request, name: &HeaderName) -> Option<&'a str> {
    let mut values = request.head.headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok(),
        _ => None,
    }
}
