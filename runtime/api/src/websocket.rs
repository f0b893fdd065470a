//! The handshake of a WebSocket (RFC 6455, 4.2): which requests for one are granted.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::Method;
use hyper::header::{
    HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION,
};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::error::Error;
use super::request::Request;
use super::upgrade::Upgrade;

/// What is asked for with `Upgrade`.
pub(super) const PROTOCOL: &str = "websocket";
/// The one version there is.
pub(super) const VERSION: &str = "13";

/// Bytes of the key by which a client knows that its request was understood.
const KEY: usize = 16;

/// The upgrade to a WebSocket that `request` asks for. What is spoken on it is `subprotocol`; a client need not ask for that by name,
/// but one that asks for others only is refused. No extensions are agreed to.
///
/// # Errors
/// [`Error`]: 426 where it asks for no WebSocket, or for another version; 400 where its key is none, or `subprotocol` is not among
/// those that it asks for.
pub(super) fn upgrade(request: &mut Request, subprotocol: &'static str) -> Result<Upgrade, Error> {
    if request.head.method != Method::GET {
        return Err(Error::upgrade_required(PROTOCOL));
    }
    let upgrade = Upgrade::of(request, PROTOCOL)?;
    if one(request, &SEC_WEBSOCKET_VERSION) != Some(VERSION) {
        return Err(Error::websocket_version());
    }
    let key = one(request, &SEC_WEBSOCKET_KEY).filter(|key| STANDARD.decode(key).is_ok_and(|key| key.len() == KEY));
    let key = key.ok_or_else(|| Error::bad_request("Sec-WebSocket-Key is not 16 bytes in Base64, once"))?;
    let accept = HeaderValue::from_str(&derive_accept_key(key.as_bytes())).expect("Base64 is header text");
    let upgrade = upgrade.with(SEC_WEBSOCKET_ACCEPT, accept);
    if !request.head.headers.contains_key(SEC_WEBSOCKET_PROTOCOL) {
        return Ok(upgrade);
    }
    if !request.lists(&SEC_WEBSOCKET_PROTOCOL, subprotocol) {
        let message = format!("none of the subprotocols asked for is spoken here; {subprotocol} is");
        return Err(Error::bad_request(message));
    }
    Ok(upgrade.with(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(subprotocol)))
}

/// The value of a header that is there once.
fn one<'a>(request: &'a Request, name: &HeaderName) -> Option<&'a str> {
    let mut values = request.head.headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok(),
        _ => None,
    }
}
