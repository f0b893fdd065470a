use std::time::Duration;

use hyper::header::{HeaderName, HeaderValue};

use super::*;

fn rule(scheme: SignatureScheme) -> SignatureRule {
    SignatureRule { scheme, secret: "hook".to_owned(), tolerance: Duration::from_secs(300), max_body: 1 << 20 }
}

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
    }
    headers
}

fn check(
    scheme: SignatureScheme,
    secret: &str,
    pairs: &[(&'static str, &str)],
    body: &str,
    seconds: i64,
) -> Result<(), SignatureError> {
    let (secret, now) = (Secret::new(secret.as_bytes()).unwrap(), Timestamp::from_second(seconds).unwrap());
    verify(&rule(scheme), &secret, &headers(pairs), body.as_bytes(), now)
}

/// The values that GitHub documents for the test of an implementation ("Validating webhook deliveries").
#[test]
fn github_signature_of_its_documentation_is_accepted() {
    const SECRET: &str = "It's a Secret to Everybody";
    const SIGNATURE: &str = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    let check = |value: &str, body: &str| {
        self::check(SignatureScheme::Github, SECRET, &[("x-hub-signature-256", value)], body, 0)
    };
    assert_eq!(check(SIGNATURE, "Hello, World!"), Ok(()));
    assert_eq!(check(SIGNATURE, "Hello, World?"), Err(SignatureError::Mismatch));
    assert_eq!(check(&SIGNATURE[..69], "Hello, World!"), Err(SignatureError::Mismatch));
    assert_eq!(check("sha256=", "Hello, World!"), Err(SignatureError::Mismatch));
    for form in ["", "757107ea", "sha1=757107ea", "sha256=7", "sha256=zz", "sha256=é"] {
        assert!(check(form, "Hello, World!").is_err(), "{form}");
    }
    let twice = [("x-hub-signature-256", SIGNATURE), ("x-hub-signature-256", SIGNATURE)];
    let error = SignatureError::Header("x-hub-signature-256");
    assert_eq!(self::check(SignatureScheme::Github, SECRET, &twice, "Hello, World!", 0), Err(error));
    assert_eq!(self::check(SignatureScheme::Github, SECRET, &[], "Hello, World!", 0), Err(error));
}

/// The example of the specification of Standard Webhooks.
#[test]
fn standard_webhooks_signature_of_its_specification_is_accepted() {
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const BODY: &str = r#"{"test": 2432232314}"#;
    const AT: i64 = 1_614_265_330;
    let check = |signature: &str, at: i64| {
        let pairs = [
            ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
            ("webhook-timestamp", "1614265330"),
            ("webhook-signature", signature),
        ];
        self::check(SignatureScheme::StandardWebhooks, SECRET, &pairs, BODY, at)
    };
    let signature = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
    assert_eq!(check(signature, AT), Ok(()));
    assert_eq!(check(&format!("v1a,x v1,AAAA {signature}"), AT + 300), Ok(()));
    assert_eq!(check(signature, AT + 301), Err(SignatureError::Timestamp));
    assert_eq!(check(signature, AT - 301), Err(SignatureError::Timestamp));
    assert_eq!(check(&signature.replace("v1,", "v2,"), AT), Err(SignatureError::Mismatch));
}

/// The signature was computed with `openssl dgst -sha256 -hmac` over `SECONDS.BODY`, as Stripe documents it.
#[test]
fn stripe_signature_is_accepted_within_its_tolerance() {
    const SECRET: &str = "whsec_test_secret";
    const SIGNATURE: &str = "c137b1b62277d523cf8fed4dfbd0170a9a5b8a380e00cc3711d4bf0652f2ce7a";
    const BODY: &str = r#"{"id": "evt_test_webhook", "object": "event"}"#;
    const AT: i64 = 1_492_774_577;
    let check =
        |value: &str, at: i64| self::check(SignatureScheme::Stripe, SECRET, &[("stripe-signature", value)], BODY, at);
    let value = format!("t={AT},v1={SIGNATURE},v0=00");
    assert_eq!(check(&value, AT), Ok(()));
    assert_eq!(check(&format!("t={AT},v1={},v1={SIGNATURE}", "0".repeat(64)), AT), Ok(()));
    assert_eq!(check(&value, AT + 301), Err(SignatureError::Timestamp));
    assert_eq!(check(&format!("t={},v1={SIGNATURE}", AT + 1), AT), Err(SignatureError::Mismatch));
    assert_eq!(check(&format!("t={AT},v0={SIGNATURE}"), AT), Err(SignatureError::Mismatch));
    for form in ["", "v1=00", "t=,v1=00", "t=-1,v1=00", "t=99999999999999999999,v1=00"] {
        assert_eq!(check(form, AT), Err(SignatureError::Form("stripe-signature")), "{form}");
    }
}
