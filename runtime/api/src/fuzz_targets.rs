//! What stands in the first line of a request, fuzzed: the router, names and ids in paths, and queries.

use capstan_engine::handler::HandlerName;
use capstan_engine::job::JobId;
use hyper::{Method, Uri};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::request::{decoded, query};
use super::router::{Found, find, unversioned};
use super::run::request;

/// Takes `METHOD TARGET` where that calls an API function. The path is then that of the route with what is named filled in, the same
/// is called with the version before it, and a handler's name is one of the few that there can be.
pub fn routes(bytes: &[u8]) -> bool {
    let Some(blank) = bytes.iter().position(|byte| *byte == b' ') else { return false };
    let (Ok(method), Ok(target)) = (Method::from_bytes(&bytes[..blank]), Uri::try_from(&bytes[blank + 1..])) else {
        return false;
    };
    check_query(target.query().unwrap_or_default());
    [false, true].map(|is_debug| calls(&method, target.path(), is_debug)).contains(&true)
}

fn calls(method: &Method, path: &str, is_debug: bool) -> bool {
    let Ok(found) = find(method, path, is_debug) else { return false };
    let Found::Route(route, name) = found else {
        let Found::Methods(allow) = found else { return false };
        for allowed in allow.to_string().split(", ").filter(|allowed| *allowed != "OPTIONS") {
            let allowed = Method::from_bytes(allowed.as_bytes()).expect("it is one of the table's");
            assert!(matches!(find(&allowed, path, is_debug), Ok(Found::Route(..))), "{allowed} {path} is not allowed");
        }
        return false;
    };
    let bare = unversioned(path).ok().filter(|_| !path.starts_with("/debug/")).unwrap_or(path);
    assert_eq!(route.path.replace("{name}", name).replace("{id}", name), bare, "{method} {path} calls {}", route.path);
    assert_eq!(name.is_empty(), !route.path.contains('{'), "{path}");
    assert!(!name.contains('/'), "{path}");
    if bare == path && !path.starts_with("/debug/") {
        let versioned = format!("/v1{path}");
        let same = find(method, &versioned, is_debug);
        assert!(matches!(same, Ok(Found::Route(same, _)) if std::ptr::eq(same, route)), "{versioned}");
    }
    if let Ok(id) = name.parse::<JobId>() {
        assert_eq!(id.to_string(), name);
    }
    if let Ok(Ok(name)) = decoded(name).map(|name| HandlerName::new(&name)) {
        assert!(!name.as_str().contains(['/', '%', '\0']) && !name.as_str().starts_with('.'), "{name}");
    }
    true
}

/// A query that is read is read again when all of it is encoded; and the policy that a run takes from it is one that could be asked for
/// in a body.
fn check_query(text: &str) {
    let Ok(pairs) = query(text) else { return };
    let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let written: Vec<_> = pairs.iter().map(|(key, value)| format!("{}={}", encoded(key), encoded(value))).collect();
    assert_eq!(query(&written.join("&")).ok().as_ref(), Some(&pairs), "{written:?}");
    if let Ok(asked) = request::query(pairs) {
        let written = serde_json::to_string(&asked.policy).expect("plain data");
        assert_eq!(serde_json::from_str(&written).ok(), Some(asked.policy), "{text}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn corpus_of_routes_holds_every_property() {
        capstan_corpus::replay("routes", routes);
    }
}
