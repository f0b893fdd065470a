//! [`SigningKey`]: signs requests as [Standard Webhooks](https://www.standardwebhooks.com/) 1.0 says.

use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use capstan_core::secret::Secret;
use hmac::{Hmac, Mac as _};
use sha2::Sha256;

/// What a secret starts with that is a key in base64.
const BASE64_PREFIX: &str = "whsec_";
/// Bytes of the shortest key, as the standard says.
const MIN_LENGTH: usize = 24;

/// The key that a receiver has too. Its `Debug` output does not contain it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct SigningKey(Vec<u8>);

/// Why a secret is no key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidKey {
    #[error("what follows {BASE64_PREFIX} is not base64: {0}")]
    Base64(String),
    #[error("the key has {0} bytes; use {MIN_LENGTH} or more, for example those of `openssl rand -base64 32`")]
    TooShort(usize),
}

impl SigningKey {
    /// Returns the key that `secret` has: the base64 after `whsec_`, or the bytes of the text without that prefix.
    ///
    /// # Errors
    /// [`InvalidKey`]
    pub(crate) fn new(secret: &Secret) -> Result<Self, InvalidKey> {
        let text = secret.reveal();
        let key = match text.strip_prefix(BASE64_PREFIX) {
            Some(encoded) => BASE64_STANDARD.decode(encoded).map_err(|error| InvalidKey::Base64(error.to_string()))?,
            None => text.as_bytes().to_vec(),
        };
        if key.len() < MIN_LENGTH { Err(InvalidKey::TooShort(key.len())) } else { Ok(Self(key)) }
    }

    /// Returns the signature of a request. `timestamp` is its time in seconds.
    pub(super) fn sign(&self, id: &str, timestamp: i64, body: &[u8]) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes a key of any length");
        mac.update(format!("{id}.{timestamp}.").as_bytes());
        mac.update(body);
        format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes()))
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SigningKey(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Result<SigningKey, InvalidKey> {
        SigningKey::new(&Secret::new(text.as_bytes()).unwrap())
    }

    #[test]
    fn signature_is_that_of_the_standard() {
        // The example of the standard's libraries.
        let key = key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signature = key.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        assert!(!format!("{key:?}").contains("77"));
    }

    #[test]
    fn text_without_the_prefix_is_the_key_itself() {
        let text = "a key of at least 24 bytes";
        let encoded = format!("whsec_{}", BASE64_STANDARD.encode(text));
        assert_eq!(key(text), key(&encoded));
    }

    #[test]
    fn short_or_malformed_key_is_an_error() {
        assert_eq!(key("short"), Err(InvalidKey::TooShort(5)));
        assert_eq!(key("whsec_c2hvcnQ="), Err(InvalidKey::TooShort(5)));
        assert!(matches!(key("whsec_not base64"), Err(InvalidKey::Base64(_))));
    }
}
