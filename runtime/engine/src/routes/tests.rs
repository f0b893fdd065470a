//! Tests of the precedence and the conflicts of routes.

use super::*;

fn name(text: &str) -> HandlerName {
    HandlerName::new(text).unwrap()
}

fn definition(methods: &[&str], host: Option<&str>, path: &str) -> ManifestRoute {
    ManifestRoute {
        path: path.to_owned(),
        methods: methods.iter().map(|method| (*method).to_owned()).collect(),
        host: host.map(str::to_owned),
        ..ManifestRoute::default()
    }
}

/// Returns the handler that answers, `-` for none, or the other methods.
fn found(table: &RouteTable, method: &str, host: &str, path: &str) -> String {
    let segments: Vec<_> = path[1..].split('/').collect();
    match table.find(method, host, &segments) {
        RouteMatch::Route(route) => route.handler.as_str().to_owned(),
        RouteMatch::OtherMethods(methods) => methods.join(","),
        RouteMatch::None => "-".to_owned(),
    }
}

#[test]
fn find_prefers_the_route_that_says_more() {
    let mut table = RouteTable::default();
    for (handler, methods, host, path) in [
        ("rest", &[][..], None, "/{*path}"),
        ("variable", &[], None, "/a/{id}"),
        ("text", &[], None, "/a/b"),
        ("deep", &[], None, "/a/{id}/c"),
        ("put", &["PUT"], None, "/a/{id}"),
        ("get", &["GET"], None, "/g"),
        ("post", &["POST"], None, "/g"),
        ("below", &[], Some("*.example"), "/a/{id}"),
        ("longer", &[], Some("*.b.example"), "/a/{*x}"),
        ("exact", &[], Some("a.b.example"), "/{*x}"),
    ] {
        table.add(&name(handler), &[definition(methods, host, path)]).unwrap();
    }
    for (method, host, path, expected) in [
        ("GET", "x", "/", "rest"),
        ("GET", "x", "/a", "rest"),
        ("GET", "x", "/a/b", "text"),
        ("GET", "x", "/a/x", "variable"),
        ("GET", "x", "/a/", "rest"),
        ("PUT", "x", "/a/x", "put"),
        ("PUT", "x", "/a/b", "text"),
        ("GET", "x", "/a/b/c", "deep"),
        ("GET", "x", "/a/b/d", "rest"),
        ("HEAD", "x", "/g", "get"),
        ("POST", "x", "/g", "post"),
        ("DELETE", "x", "/g", "rest"),
        ("GET", "z.example", "/a/b", "below"),
        ("GET", "z.b.example", "/a/b", "longer"),
        ("GET", "z.b.example", "/q", "rest"),
        ("GET", "a.b.example", "/a/b", "exact"),
    ] {
        assert_eq!(found(&table, method, host, path), expected, "{method} {host} {path}");
    }
}

#[test]
fn find_returns_other_methods_only_if_no_route_fits() {
    let mut table = RouteTable::default();
    let routes = [definition(&["POST", "PUT"], None, "/a"), definition(&["GET"], Some("h"), "/a")];
    table.add(&name("x"), &routes).unwrap();
    assert_eq!(found(&table, "DELETE", "h", "/a"), "GET,POST,PUT");
    assert_eq!(found(&table, "PUT", "h", "/a"), "x");
    assert_eq!(found(&table, "GET", "other", "/a"), "POST,PUT");
    assert_eq!(found(&table, "GET", "h", "/b"), "-");
}

#[test]
fn add_with_a_conflict_adds_nothing_and_names_the_other_handler() {
    let mut table = RouteTable::default();
    table.add(&name("first"), &[definition(&["GET"], None, "/a/{id}")]).unwrap();
    let routes = [definition(&[], None, "/new"), definition(&["GET", "PUT"], None, "/a/{other}")];
    let error = table.add(&name("second"), &routes).unwrap_err();
    assert!(matches!(&error, RoutesError::Conflict { handler, .. } if *handler == name("first")), "{error}");
    assert_eq!((table.all().len(), found(&table, "GET", "x", "/new").as_str()), (1, "-"));
    let twice = [definition(&[], None, "/new"), definition(&[], None, "/new")];
    assert!(table.add(&name("second"), &twice).is_err());
}
