use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::*;
use crate::http::Scheme;
use crate::policy::{Ceiling, DenialReason, OfferedSecret, PolicyRequest, Rule};
use crate::secret::Secret;

fn rule(text: &str) -> HttpRule {
    text.parse().unwrap()
}

/// Returns the target of a request that is written as `METHOD URL`.
fn target(text: &str) -> HttpTarget<'_> {
    let (method, url) = text.split_once(' ').unwrap();
    let (scheme, rest) = url.split_once("://").unwrap();
    let (authority, path) = rest.split_at(rest.find('/').unwrap());
    let (scheme, default) = if scheme == "https" { (Scheme::Https, 443) } else { (Scheme::Http, 80) };
    let colon = authority.rfind(':').filter(|colon| !authority[*colon..].contains(']'));
    let (host, port) =
        colon.map_or((authority, default), |colon| (&authority[..colon], authority[colon + 1..].parse().unwrap()));
    HttpTarget { method, scheme, host: HttpHost::parse(host).unwrap(), port, path }
}

fn reach(rules: &[&str], network: &[&str]) -> HttpReach {
    let rules = rules.iter().map(|text| rule(text)).collect();
    let network: Vec<Rule> = network.iter().map(|text| text.parse().unwrap()).collect();
    HttpReach::new(rules, &network, &[8080], (&[], &[]), Vec::new())
}

#[test]
fn rule_display_parses_to_the_same_rule() {
    for (text, shown) in [
        ("https://api.example.com/v1/", "https://api.example.com/v1/"),
        ("GET https://*.example.org", "GET https://*.example.org"),
        ("POST,GET  https://*:8443/", "GET,POST https://*:8443"),
        ("http://127.0.0.1:8000-8100/x", "http://127.0.0.1:8000-8100/x"),
        ("http://[2001:DB8::1]:80", "http://[2001:db8::1]"),
        ("https://Example.COM.:443", "https://example.com"),
        ("M-SEARCH http://example.com", "M-SEARCH http://example.com"),
    ] {
        let parsed = rule(text);
        assert_eq!(parsed.to_string(), shown);
        assert_eq!(rule(shown), parsed);
        let json = serde_json::to_value(&parsed).unwrap();
        assert_eq!(serde_json::from_value::<HttpRule>(json).unwrap(), parsed);
    }
}

#[test]
fn invalid_rule_is_rejected_with_the_reason() {
    for (text, reason) in [
        ("example.com", "must start with https://"),
        ("ftp://example.com", "must start with https://"),
        ("https://user:pass@example.com", "no user and password"),
        ("https://", "host is missing"),
        ("https://127.1", "cannot end in a number"),
        ("https://0x7f.1", "cannot end in a number"),
        ("https://2130706433", "cannot end in a number"),
        ("https://[::ffff:127.0.0.1]", "IPv4 address in IPv6 form"),
        ("https://localhost", "by its address"),
        ("https://a.*.example.com", "asterisk"),
        ("https://example.com:0", "1 to 65535"),
        ("https://example.com/v1?x=1", "no query"),
        ("https://example.com/v1/../x", "`..`"),
        ("https://example.com/v1/*", "asterisks"),
        ("https://example.com/é", "as in a URL"),
        ("get https://example.com", "capital letters"),
        ("CONNECT https://example.com", "never sent"),
        ("GET,TRACE https://example.com", "never sent"),
    ] {
        let error = text.parse::<HttpRule>().unwrap_err().to_string();
        assert!(error.contains(reason) && error.contains("is not an HTTP rule"), "{text}: {error}");
    }
}

#[test]
fn table_has_the_secrets_and_fields_of_a_rule() {
    let text =
        r#"{"url":"https://a.example/v1/","methods":["GET"],"secrets":["key=KEY","salt"],"headers":["X-Api-Key"]}"#;
    let parsed: HttpRule = serde_json::from_str(text).unwrap();
    assert_eq!(parsed.headers.iter().collect::<Vec<_>>(), ["x-api-key"]);
    assert_eq!(parsed.secrets[0].variable(), "KEY");
    assert_eq!(parsed.secrets[1].variable(), "SALT");
    assert_eq!(parsed.to_string(), "GET https://a.example/v1/ with key, salt");
    let written = serde_json::to_string(&parsed).unwrap();
    assert_eq!(serde_json::from_str::<HttpRule>(&written).unwrap(), parsed);
    for (text, reason) in [
        (r#"{"url":"a.example"}"#, "must start with"),
        (r#"{"url":"https://a.example","secrets":["=X"]}"#, "NAME or NAME=VARIABLE"),
        (r#"{"url":"https://a.example","headers":["a b"]}"#, "not the name of a header field"),
        (r#"{"url":"https://a.example","headers":["Host"]}"#, "cannot be in the field host"),
        (r#"{"methods":["GET"]}"#, "missing field `url`"),
        ("7", "an HTTP rule"),
    ] {
        let error = serde_json::from_str::<HttpRule>(text).unwrap_err().to_string();
        assert!(error.contains(reason), "{text}: {error}");
    }
}

#[test]
fn rule_is_within_only_rules_that_allow_all_of_its_requests() {
    for (narrow, wide, is_within) in [
        ("https://a.example", "https://a.example", true),
        ("GET https://a.example", "https://a.example", true),
        ("https://a.example", "GET https://a.example", false),
        ("GET https://a.example", "GET,POST https://a.example", true),
        ("GET,PUT https://a.example", "GET,POST https://a.example", false),
        ("http://a.example:443", "https://a.example", false),
        ("https://b.a.example", "https://*.a.example", true),
        ("https://a.example", "https://*.a.example", false),
        ("https://*.a.example", "https://*", true),
        ("https://a.example/v1/x", "https://a.example/v1", true),
        ("https://a.example/v1/", "https://a.example/v1", true),
        ("https://a.example/v1", "https://a.example/v1/", false),
        ("https://a.example/v10", "https://a.example/v1", false),
        ("https://a.example:444", "https://a.example", false),
        ("https://a.example:444", "https://a.example:400-500", true),
    ] {
        assert_eq!(rule(narrow).is_within(&rule(wide)), is_within, "{narrow} within {wide}");
    }
}

#[test]
fn request_is_denied_by_each_part_of_a_rule() {
    let reach = reach(&["GET https://a.example/v1/", "https://*.b.example", "http://10.0.0.7:81"], &[]);
    for (text, expected) in [
        ("GET https://a.example/v1/", Ok(())),
        ("GET https://a.example/v1/x", Ok(())),
        ("GET https://a.example/v1", Err(HttpDenial::Path)),
        ("GET https://a.example/", Err(HttpDenial::Path)),
        ("GET https://a.example/v1/../admin", Err(HttpDenial::DotSegment)),
        ("GET https://a.example/v1/%2e%2E/admin", Err(HttpDenial::DotSegment)),
        ("GET https://a.example/v1/..%2fadmin", Err(HttpDenial::DotSegment)),
        ("GET https://a.example/v1/..%5cadmin", Err(HttpDenial::DotSegment)),
        ("GET https://a.example/v1/%252e%252e/admin", Err(HttpDenial::DotSegment)),
        ("GET https://a.example/v1/..;a=b/admin", Err(HttpDenial::DotSegment)),
        ("GET https://a.example/v1/..x", Ok(())),
        ("POST https://a.example/v1/", Err(HttpDenial::Method)),
        ("get https://a.example/v1/", Err(HttpDenial::Method)),
        ("GET http://a.example/v1/", Err(HttpDenial::Host)),
        ("GET https://a.example:444/v1/", Err(HttpDenial::Host)),
        ("GET https://c.a.example/v1/", Err(HttpDenial::Host)),
        ("PATCH https://x.b.example/../x", Ok(())),
        ("GET https://b.example/", Err(HttpDenial::Host)),
        ("TRACE https://x.b.example/", Err(HttpDenial::ForbiddenMethod)),
        ("CONNECT https://x.b.example/", Err(HttpDenial::ForbiddenMethod)),
        ("connect https://x.b.example/", Err(HttpDenial::ForbiddenMethod)),
        ("GET http://10.0.0.7:81/", Ok(())),
        ("GET http://10.0.0.8:81/", Err(HttpDenial::Host)),
    ] {
        assert_eq!(reach.allows(&target(text)), expected, "{text}");
    }
}

#[test]
fn odd_notations_of_addresses_are_no_hosts() {
    for text in
        ["127.1", "0x7f.1", "2130706433", "0177.0.0.1", "1.2.3.4.5", "[::ffff:1.2.3.4]", "[::1", "[1.2.3.4]", "", "é"]
    {
        assert!(HttpHost::parse(text).is_err(), "{text}");
    }
    assert_eq!(HttpHost::parse("127.0.0.1"), Ok(HttpHost::Address(Ipv4Addr::LOCALHOST.into())));
    assert_eq!(HttpHost::parse("[::1]").map(|host| host.to_string()), Ok("[::1]".to_owned()));
}

#[test]
fn name_that_resolves_to_a_special_address_needs_a_network_rule_for_it() {
    let address = |text: &str| -> SocketAddr { text.parse().unwrap() };
    let check = |reach: &HttpReach, host: &str, to: &str| {
        reach.allows_address(&HttpHost::parse(host).unwrap(), address(to), |ip: IpAddr| ip.is_loopback())
    };
    let open = reach(&["http://*", "http://*:8080", "http://127.0.0.1:80/v1/"], &[]);
    assert_eq!(check(&open, "a.example", "93.184.216.34:80"), Ok(()));
    assert_eq!(check(&open, "a.example", "127.0.0.1:80"), Err(DenialReason::Special("loopback")));
    assert_eq!(check(&open, "localhost", "127.0.0.1:80"), Err(DenialReason::Special("loopback")));
    assert_eq!(check(&open, "a.example", "169.254.169.254:80"), Err(DenialReason::Special("link-local")));
    assert_eq!(check(&open, "a.example", "93.184.216.34:81"), Err(DenialReason::NoRule));
    // The rule for the address is for requests that name the address.
    assert_eq!(check(&open, "127.0.0.1", "127.0.0.1:80"), Ok(()));
    let local = reach(&["http://*", "http://*:8080"], &["127.0.0.0/8"]);
    assert_eq!(check(&local, "a.example", "127.0.0.1:80"), Ok(()));
    assert_eq!(check(&local, "a.example", "127.0.0.1:8080"), Err(DenialReason::DaemonPort));
}

/// Returns a ceiling that offers `key` to every handler, `bound` for requests to one host only, and `own` to handler `wc`.
fn ceiling() -> Ceiling {
    let offered = |value: &str, handler: &str, http: Vec<HttpRule>| OfferedSecret {
        secret: Secret::new(value.as_bytes()).unwrap(),
        handlers: vec![handler.to_owned()],
        http,
    };
    Ceiling {
        http: vec![rule("https://*.example.com"), rule("GET https://other.example")],
        secrets: [
            ("key".to_owned(), offered("the key", "*", Vec::new())),
            ("bound".to_owned(), offered("the bound key", "*", vec![rule("https://api.example.com/v1/")])),
            ("own".to_owned(), offered("the own key", "wc", Vec::new())),
        ]
        .into(),
        ..Ceiling::default()
    }
}

fn evaluate(manifest: &str, caller: &str) -> Result<Vec<String>, String> {
    let [manifest, caller] = [manifest, caller].map(|text| toml::from_str::<PolicyRequest>(text).unwrap());
    let policy = ceiling().evaluate("job", &manifest, &caller).into_policy().map_err(|denied| denied.to_string())?;
    Ok(policy.http.iter().map(ToString::to_string).collect())
}

#[test]
fn rule_is_granted_within_those_of_operator_and_manifest() {
    let api = "http = [\"https://api.example.com/v1/\"]";
    assert_eq!(evaluate("", ""), Ok(vec![]));
    assert_eq!(evaluate(api, ""), Ok(vec!["https://api.example.com/v1/".to_owned()]));
    assert_eq!(evaluate(api, "http = []"), Ok(vec![]));
    assert_eq!(
        evaluate(api, "http = [\"GET https://api.example.com/v1/x\"]"),
        Ok(vec!["GET https://api.example.com/v1/x".to_owned()])
    );
    for (manifest, caller, reason) in [
        (api, "http = [\"https://api.example.com/\"]", "the manifest does not request it"),
        ("", "http = [\"https://example.com\"]", "the rules of the operator do not cover it"),
        ("", "http = [\"https://other.example\"]", "the rules of the operator do not cover it"),
        (api, "http = [{ url = \"https://api.example.com/v1/\", secrets = [\"key\"] }]", "does not request it"),
        ("", "http = [{ url = \"https://api.example.com/\", secrets = [\"none\"] }]", "no secret none"),
        ("", "http = [{ url = \"https://api.example.com/\", secrets = [\"own\"] }]", "does not offer the secret own"),
        (
            "",
            "http = [{ url = \"https://api.example.com/\", secrets = [\"bound\"] }]",
            "https://api.example.com/v1/ only",
        ),
        ("", "secrets = [{ name = \"bound\" }]", "for HTTP requests only"),
    ] {
        let denied = evaluate(manifest, caller).unwrap_err();
        assert!(denied.contains(reason), "{caller}: {denied}");
    }
    let closed = Ceiling::default();
    let denied =
        closed.evaluate("job", &PolicyRequest::EMPTY, &toml::from_str(api).unwrap()).into_policy().unwrap_err();
    assert!(denied.to_string().contains("the operator grants no HTTP requests"), "{denied}");
}

#[test]
fn placeholder_stands_for_the_secret_in_requests_of_its_rule_only() {
    let request = "http = [\"https://*.example.com\", { url = \"https://api.example.com/v1/\", secrets = [\"bound=KEY\"] }, \
                   { url = \"POST-less\" , secrets = [] }]";
    assert!(toml::from_str::<PolicyRequest>(request).is_err(), "the last rule is none");
    let request = "http = [\"https://*.example.com\", { url = \"https://api.example.com/v1/\", methods = [\"GET\"], secrets = [\"bound=KEY\"] }]";
    let ceiling = ceiling();
    let request: PolicyRequest = toml::from_str(request).unwrap();
    let policy = ceiling.evaluate("job", &PolicyRequest::EMPTY, &request).into_policy().unwrap();
    let reach = ceiling.http_reach(&policy, &[], || "the token".to_owned()).unwrap();
    assert_eq!(reach.placeholders().collect::<Vec<_>>(), [("KEY", "the token")]);
    assert_eq!(reach.secrets().map(Secret::reveal).collect::<Vec<_>>(), ["the bound key"]);
    for (text, is_replaced) in [
        ("GET https://api.example.com/v1/x", true),
        ("POST https://api.example.com/v1/x", false),
        ("GET https://api.example.com/x", false),
        ("GET https://api.example.com/v1/../x", false),
        ("GET https://other.example.com/v1/x", false),
    ] {
        let target = target(text);
        assert_eq!(reach.allows(&target), Ok(()));
        let found = reach.substitutions(&target);
        assert_eq!(
            found.iter().map(|one| (one.token, one.secret.reveal())).next(),
            is_replaced.then_some(("the token", "the bound key")),
            "{text}"
        );
    }
    assert!(!serde_json::to_string(&policy).unwrap().contains("the bound key"));
    assert!(!format!("{policy:?}").contains("the bound key") && !format!("{reach:?}").contains("the bound key"));
}
