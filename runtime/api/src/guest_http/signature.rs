//! Checks the signature of a webhook before its handler gets it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use capstan_core::http::{SignatureRule, SignatureScheme};
use capstan_core::secret::Secret;
use hmac::{Hmac, Mac as _};
use hyper::HeaderMap;
use jiff::Timestamp;
use sha2::Sha256;

use super::super::error::Error;
use super::super::request::Request;
use super::super::request_body;
use super::super::state::ApiState;

/// How the secrets of Standard Webhooks start. The rest is Base64.
const KEY_PREFIX: &str = "whsec_";

/// Why a request is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum SignatureError {
    #[error("the header {0} is missing, occurs more than once, or is not text")]
    Header(&'static str),
    #[error("the header {0} does not have the form of the scheme")]
    Form(&'static str),
    #[error("the timestamp is further from the time of the daemon than the rule allows")]
    Timestamp,
    #[error("no signature matches the body")]
    Mismatch,
    #[error("the secret of the rule is not Base64")]
    Secret,
}

/// Reads the body of a request for `handler`, and checks its signature. Returns the body, of which nothing is left in `request`.
///
/// # Errors
/// [`Error`]: 401 `bad_signature`; 413 or 408 for a body that is too large or too slow; 500 if the operator does not offer the secret to the
/// handler.
pub(super) async fn read_verified(
    state: &ApiState,
    request: &mut Request,
    rule: &SignatureRule,
    handler: &str,
) -> Result<Bytes, Error> {
    let ceiling = state.engine.ceiling();
    let Some(secret) = ceiling.offered_secret(&rule.secret, handler) else {
        tracing::error!(handler, secret = rule.secret, "the operator does not offer the secret of a signature rule");
        return Err(Error::internal("the secret that signs requests for this route is not available"));
    };
    if request.content_length().is_some_and(|length| length > rule.max_body) {
        return Err(Error::too_large(rule.max_body));
    }
    let body = request_body::read_to_end(&mut request.body, rule.max_body, &state.settings.http_limits).await?;
    verify(rule, secret, &request.head.headers, &body, Timestamp::now()).map_err(|error| match error {
        SignatureError::Secret => Error::internal(error.to_string()),
        _ => Error::bad_signature(&error.to_string()),
    })?;
    Ok(body)
}

/// Checks that `body` was signed with `secret`, at a time that `rule` allows at `now`. Signatures are compared in constant time.
///
/// # Errors
/// [`SignatureError`]
pub(super) fn verify(
    rule: &SignatureRule,
    secret: &Secret,
    headers: &HeaderMap,
    body: &[u8],
    now: Timestamp,
) -> Result<(), SignatureError> {
    let is_signed = match rule.scheme {
        SignatureScheme::Github => is_signed_by_github(secret, headers, body),
        SignatureScheme::Stripe => is_signed_by_stripe(rule, secret, headers, body, now),
        SignatureScheme::StandardWebhooks => is_signed_by_standard(rule, secret, headers, body, now),
    }?;
    if is_signed { Ok(()) } else { Err(SignatureError::Mismatch) }
}

/// `X-Hub-Signature-256: sha256=HEX` over the body.
fn is_signed_by_github(secret: &Secret, headers: &HeaderMap, body: &[u8]) -> Result<bool, SignatureError> {
    const HEADER: &str = "x-hub-signature-256";
    let digits = header(headers, HEADER)?.strip_prefix("sha256=").ok_or(SignatureError::Form(HEADER))?;
    let signature = from_hex(digits).ok_or(SignatureError::Form(HEADER))?;
    Ok(is_signature(secret.reveal().as_bytes(), &[body], &signature))
}

/// `Stripe-Signature: t=SECONDS,v1=HEX,…` over `SECONDS.BODY`. Several `v1` are there while a secret is replaced.
fn is_signed_by_stripe(
    rule: &SignatureRule,
    secret: &Secret,
    headers: &HeaderMap,
    body: &[u8],
    now: Timestamp,
) -> Result<bool, SignatureError> {
    const HEADER: &str = "stripe-signature";
    let pairs: Vec<_> = header(headers, HEADER)?.split(',').filter_map(|pair| pair.trim().split_once('=')).collect();
    let timestamp = pairs.iter().find(|(name, _)| *name == "t").ok_or(SignatureError::Form(HEADER))?.1;
    check_time(rule, timestamp, now, HEADER)?;
    let mut signatures = pairs.iter().filter(|(name, _)| *name == "v1").filter_map(|(_, digits)| from_hex(digits));
    let signed = [timestamp.as_bytes(), b".", body];
    let key = secret.reveal().as_bytes();
    Ok(signatures.any(|signature| is_signature(key, &signed, &signature)))
}

/// `Webhook-Signature: v1,BASE64 …` over `ID.SECONDS.BODY`.
fn is_signed_by_standard(
    rule: &SignatureRule,
    secret: &Secret,
    headers: &HeaderMap,
    body: &[u8],
    now: Timestamp,
) -> Result<bool, SignatureError> {
    let (id, timestamp) = (header(headers, "webhook-id")?, header(headers, "webhook-timestamp")?);
    check_time(rule, timestamp, now, "webhook-timestamp")?;
    let encoded = secret.reveal().strip_prefix(KEY_PREFIX).unwrap_or(secret.reveal());
    let key = BASE64.decode(encoded).map_err(|_| SignatureError::Secret)?;
    let signed = [id.as_bytes(), b".", timestamp.as_bytes(), b".", body];
    let listed = header(headers, "webhook-signature")?.split(' ').filter_map(|item| item.strip_prefix("v1,"));
    let mut signatures = listed.filter_map(|encoded| BASE64.decode(encoded).ok());
    Ok(signatures.any(|signature| is_signature(&key, &signed, &signature)))
}

/// Returns the value of a header that occurs once.
fn header<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<&'a str, SignatureError> {
    let mut values = headers.get_all(name).iter();
    match (values.next().map(|value| value.to_str()), values.next()) {
        (Some(Ok(value)), None) => Ok(value),
        _ => Err(SignatureError::Header(name)),
    }
}

/// Checks a time in seconds since 1970.
fn check_time(rule: &SignatureRule, seconds: &str, now: Timestamp, header: &'static str) -> Result<(), SignatureError> {
    let is_number = !seconds.is_empty() && seconds.bytes().all(|byte| byte.is_ascii_digit());
    let signed = is_number.then(|| seconds.parse::<i64>().ok()).flatten().ok_or(SignatureError::Form(header))?;
    let distance = now.as_second().abs_diff(signed);
    if distance <= rule.tolerance.as_secs() { Ok(()) } else { Err(SignatureError::Timestamp) }
}

/// Returns whether `signature` is the HMAC-SHA256 of the parts. Takes the same time for every signature of the right length.
fn is_signature(key: &[u8], parts: &[&[u8]], signature: &[u8]) -> bool {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    parts.iter().for_each(|part| mac.update(part));
    mac.verify_slice(signature).is_ok()
}

fn from_hex(digits: &str) -> Option<Vec<u8>> {
    let digits = digits.as_bytes();
    let value = |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
    let pairs = digits.chunks(2).map(|pair| match pair {
        [high, low] => Some(value(*high)? << 4 | value(*low)?),
        _ => None,
    });
    pairs.collect()
}

#[cfg(test)]
mod tests;
