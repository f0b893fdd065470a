//! Fuzz targets for the first line of a request: the router, names and ids in paths, and queries.

use capstan_engine::handler::HandlerName;
use capstan_engine::job::JobId;
use hyper::{Method, Uri};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::request::{parse_query, percent_decode};
use super::router::{RouteMatch, find, unversioned};
use super::run::request;

/// Routes `METHOD TARGET`, and returns whether that calls an API function.
///
/// Then the path must be that of the route with the parameter filled in, the versioned path must call the same function, and the name of
/// a handler must be valid.
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
    let RouteMatch::Route(route, name) = found else {
        let RouteMatch::OtherMethods(allowed) = found else { return false };
        for name in allowed.to_string().split(", ").filter(|name| *name != "OPTIONS") {
            let method = Method::from_bytes(name.as_bytes()).expect("it is a method of the table");
            assert!(matches!(find(&method, path, is_debug), Ok(RouteMatch::Route(..))), "{name} {path} is not allowed");
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
        assert!(matches!(same, Ok(RouteMatch::Route(same, _)) if std::ptr::eq(same, route)), "{versioned}");
    }
    if let Ok(id) = name.parse::<JobId>() {
        assert_eq!(id.to_string(), name);
    }
    if let Ok(Ok(name)) = percent_decode(name).map(|name| HandlerName::new(&name)) {
        assert!(!name.as_str().contains(['/', '%', '\0']) && !name.as_str().starts_with('.'), "{name}");
    }
    true
}

/// A valid query must stay the same when all of it is percent-encoded, and the policy that a run takes from it must be one that a body
/// can contain.
fn check_query(text: &str) {
    let Ok(pairs) = parse_query(text) else { return };
    let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let encoded: Vec<_> = pairs.iter().map(|(key, value)| format!("{}={}", encode(key), encode(value))).collect();
    assert_eq!(parse_query(&encoded.join("&")).ok().as_ref(), Some(&pairs), "{encoded:?}");
    if let Ok(request) = request::parse_query(pairs) {
        let written = serde_json::to_string(&request.policy).expect("plain data");
        assert_eq!(serde_json::from_str(&written).ok(), Some(request.policy), "{text}");
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
