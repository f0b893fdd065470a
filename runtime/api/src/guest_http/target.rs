//! [`Target`]: which handler answers a request, and what its guest sees of the path.

use std::borrow::Cow;
use std::sync::Arc;

use capstan_engine::routes::{Route, RouteMatch, RouteTable};
use hyper::Version;
use hyper::header::{HOST, HeaderMap};
use hyper::http::uri::Authority;

use super::super::error::Error;
use super::super::request::{Request, percent_decode};
use super::super::trace_context::{TRACEPARENT, TRACESTATE};

/// Where the handlers answer on the listeners of the API.
pub(crate) const PREFIX: &str = "/x/";

/// Which handler answers a request, and what its guest sees of the path.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) handler: String,
    /// The path as a component sees it, still percent-encoded. It starts with `/`.
    pub(crate) path_and_query: String,
    /// The part of the path that selected the handler, as CGI has it: `/x/NAME`, or empty for a claimed route.
    pub(crate) script_name: String,
    /// Environment variables of a command, besides those of CGI: `PATH_VAR_ID` for `{id}`, and `TRACEPARENT`.
    pub(crate) variables: Vec<(String, String)>,
    /// The claimed route. `None` below `/x/`.
    pub(crate) route: Option<Arc<Route>>,
    /// The decoded segments of the path.
    pub(crate) segments: Vec<String>,
    /// Whether the request has no path of its own, as `/x/hello` has none.
    pub(crate) is_bare: bool,
}

impl Target {
    /// Reads the target from a path such as `/x/hello/a/b?c`.
    ///
    /// # Errors
    /// [`Error`], 404, if the path names no handler.
    pub(crate) fn below_prefix(request: &Request) -> Result<Self, Error> {
        let uri = &request.head.uri;
        let rest = uri.path().strip_prefix(PREFIX).unwrap_or_default();
        let (name, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        if name.is_empty() {
            return Err(Error::not_found("the path names no handler: /x/HANDLER/PATH"));
        }
        let handler = percent_decode(name)
            .map_err(|_| Error::not_found("the name of the handler is not UTF-8 after percent-decoding"))?
            .into_owned();
        let is_bare = path.is_empty();
        let path = if is_bare { "/" } else { path };
        Ok(Self {
            script_name: format!("{PREFIX}{handler}"),
            handler,
            path_and_query: with_query(path, uri.query()),
            is_bare,
            variables: Vec::new(),
            route: None,
            segments: Vec::new(),
        })
    }

    /// Finds the route of a request.
    ///
    /// # Errors
    /// [`Error`]: 404 if no route matches, 405 if only routes of other methods do, 400 for a path or a host that is not valid.
    pub(crate) fn claimed(routes: &RouteTable, request: &Request) -> Result<Self, Error> {
        let (uri, method) = (&request.head.uri, request.head.method.as_str());
        let segments = segments(uri.path())?;
        let route = match routes.find(method, &host(request)?, &segments) {
            RouteMatch::Route(route) => route,
            RouteMatch::OtherMethods(mut methods) => {
                if methods.iter().any(|method| method == "GET") && !methods.iter().any(|method| method == "HEAD") {
                    methods.push("HEAD".to_owned());
                }
                return Err(Error::method_not_allowed(&request.head.method, &methods.join(", ")));
            }
            RouteMatch::None => return Err(Error::not_found("no handler claims this path")),
        };
        let variables = route.pattern.path.variables(&segments).into_iter();
        let variables = variables.map(|(name, value)| (format!("PATH_VAR_{}", name.to_ascii_uppercase()), value));
        Ok(Self {
            handler: route.handler.as_str().to_owned(),
            path_and_query: with_query(uri.path(), uri.query()),
            script_name: String::new(),
            is_bare: false,
            variables: variables.collect(),
            route: Some(route),
            segments,
        })
    }

    /// Returns the path that a command sees, still percent-encoded. Empty if the request has none.
    pub(super) fn path_info(&self) -> &str {
        let path = self.path_and_query.split('?').next().unwrap_or_default();
        if self.is_bare { "" } else { path }
    }

    /// Returns the query, still percent-encoded. Empty if the request has none.
    pub(super) fn query(&self) -> &str {
        self.path_and_query.split_once('?').map_or("", |(_, query)| query)
    }

    /// Adds the trace context to the variables, as `TRACEPARENT` and `TRACESTATE`.
    pub(crate) fn add_trace(&mut self, headers: &HeaderMap) {
        for (name, variable) in [(TRACEPARENT, "TRACEPARENT"), (TRACESTATE, "TRACESTATE")] {
            if let Some(value) = headers.get(name).and_then(|value| value.to_str().ok()) {
                self.variables.push((variable.to_owned(), value.to_owned()));
            }
        }
    }
}

fn with_query(path: &str, query: Option<&str>) -> String {
    match query {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    }
}

/// Returns the decoded segments of a path.
///
/// # Errors
/// [`Error`], 400, if one is not UTF-8, has a NUL, or is `.` or `..`: a client resolves these, and no pattern may match around them.
fn segments(path: &str) -> Result<Vec<String>, Error> {
    let path = path.strip_prefix('/').ok_or_else(|| Error::bad_request("the path does not start with /"))?;
    path.split('/')
        .map(|segment| match percent_decode(segment).map(Cow::into_owned) {
            Ok(text) if !matches!(text.as_str(), "." | "..") && !text.contains('\0') => Ok(text),
            Ok(_) => Err(Error::bad_request("the path has a segment `.` or `..`, or a NUL")),
            Err(_) => Err(Error::bad_request("the path is not UTF-8 after percent-decoding")),
        })
        .collect()
}

/// Returns the host of a request in small letters, without its port.
///
/// # Errors
/// [`Error`], 400, if there is none where HTTP requires one, if there are several, or if it is not valid.
fn host(request: &Request) -> Result<String, Error> {
    let head = &request.head;
    let mut hosts = head.headers.get_all(HOST).iter();
    let named = match (hosts.next(), hosts.next()) {
        (_, Some(_)) => return Err(Error::bad_request("the request has more than one Host header")),
        (Some(host), None) => host.to_str().ok(),
        (None, None) => Some(""),
    };
    let text = head.uri.authority().map(Authority::as_str).or(named);
    match text.filter(|text| !text.contains('@')) {
        Some("") if head.version < Version::HTTP_11 => Ok(String::new()),
        Some(text) => {
            let host = text.parse::<Authority>().map(|authority| authority.host().to_ascii_lowercase());
            // The dot of an absolute name is no part of it.
            let host = host.map(|host| host.strip_suffix('.').map(str::to_owned).unwrap_or(host));
            host.map_err(|_| Error::bad_request("the host of the request is missing or not valid"))
        }
        None => Err(Error::bad_request("the host of the request is not valid")),
    }
}
