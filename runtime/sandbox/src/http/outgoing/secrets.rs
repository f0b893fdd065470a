//! Puts secrets into the fields of a request, and masks them in those of its response.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use capstan_core::policy::Substitution;
use capstan_core::secret::{Redaction, Secret};
use http::{HeaderMap, HeaderValue};

/// Replaces the tokens in the allowed fields by their secrets. Returns what must not reach the guest again: the secrets, and the credentials of
/// the scheme `Basic` that contain one.
pub(super) fn substitute(fields: &mut HeaderMap, substitutions: &[Substitution<'_>]) -> Redaction {
    let mut carried = Vec::new();
    for (name, value) in fields.iter_mut() {
        let allowed: Vec<_> = substitutions.iter().filter(|one| one.headers.contains(name.as_str())).collect();
        let Ok(text) = value.to_str() else { continue };
        let Some(replaced) = replace_all(text, &allowed, &mut carried) else { continue };
        if let Ok(mut replaced) = HeaderValue::from_bytes(replaced.as_bytes()) {
            // HTTP/2 keeps it out of its compression tables, which other requests share.
            replaced.set_sensitive(true);
            *value = replaced;
        }
    }
    Redaction::new(carried).keeping_length()
}

/// Returns `text` with secrets in place of tokens, also in the credentials of `Basic`, or `None` if there are none. Adds what it put in to
/// `carried`.
fn replace_all(text: &str, substitutions: &[&Substitution<'_>], carried: &mut Vec<Secret>) -> Option<String> {
    if let Some(replaced) = replace(text, substitutions, carried) {
        return Some(replaced);
    }
    let (scheme, credentials) = text.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(STANDARD.decode(credentials.trim()).ok()?).ok()?;
    let encoded = STANDARD.encode(replace(&decoded, substitutions, carried)?);
    carried.extend(Secret::new(encoded.as_bytes()));
    Some(format!("{scheme} {encoded}"))
}

fn replace(text: &str, substitutions: &[&Substitution<'_>], carried: &mut Vec<Secret>) -> Option<String> {
    let mut replaced = None;
    for Substitution { token, secret, .. } in substitutions {
        let text = replaced.as_deref().unwrap_or(text);
        if text.contains(token) {
            let next = text.replace(token, secret.reveal());
            carried.push((*secret).clone());
            replaced = Some(next);
        }
    }
    replaced
}

/// Masks `secrets` in the fields of a response.
pub(in crate::http) fn mask(fields: &mut HeaderMap, secrets: &Redaction) {
    if secrets.is_empty() {
        return;
    }
    for value in fields.values_mut() {
        let mut redactor = secrets.redactor();
        let mut shown = redactor.redact(value.as_bytes());
        shown.extend(redactor.finish());
        if shown != value.as_bytes() {
            *value = HeaderValue::from_bytes(&shown).unwrap_or_else(|_| HeaderValue::from_static("***"));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use http::header::{AUTHORIZATION, COOKIE};

    use super::*;

    const TOKEN: &str = "capstan-secret-0123";

    fn substituted(field: http::HeaderName, value: &str) -> (String, Redaction) {
        let secret = Secret::new(b"hunter2").unwrap();
        let headers = BTreeSet::from(["authorization".to_owned()]);
        let mut fields = HeaderMap::new();
        fields.insert(field.clone(), value.parse().unwrap());
        let redaction = substitute(&mut fields, &[Substitution { token: TOKEN, secret: &secret, headers: &headers }]);
        (fields[field].to_str().unwrap().to_owned(), redaction)
    }

    #[test]
    fn token_is_replaced_in_allowed_fields_only() {
        let bearer = format!("Bearer {TOKEN}");
        assert_eq!(substituted(AUTHORIZATION, &bearer).0, "Bearer hunter2");
        let (cookie, redaction) = substituted(COOKIE, &bearer);
        assert_eq!(cookie, bearer);
        assert!(redaction.is_empty());
        assert_eq!(substituted(AUTHORIZATION, "Bearer other").0, "Bearer other");
    }

    #[test]
    fn token_in_basic_credentials_is_replaced_and_masked_in_both_forms() {
        let (value, redaction) =
            substituted(AUTHORIZATION, &format!("Basic {}", STANDARD.encode(format!("me:{TOKEN}"))));
        assert_eq!(value, format!("Basic {}", STANDARD.encode("me:hunter2")));
        let mut fields = HeaderMap::new();
        fields.insert("x-echo", value.parse().unwrap());
        fields.insert("x-plain", "a hunter2 b".parse().unwrap());
        mask(&mut fields, &redaction);
        assert_eq!(fields["x-plain"], "a ******* b");
        assert_eq!(fields["x-echo"], format!("Basic {}", "*".repeat(16)));
    }
}
