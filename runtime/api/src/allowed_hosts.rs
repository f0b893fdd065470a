//! Who may call over TCP: only who names this daemon by a name that is its own.
//!
//! A web page can make its reader's browser send requests to any address, under a name that was made to point there. What it cannot do
//! is lie about that name: `Host` has the name that the page used, `Origin` where the page came from. On a unix socket there are no
//! browsers, and nothing is checked.

use std::net::IpAddr;
use std::sync::Arc;

use capstan_listen::tls::Material;
use hyper::header::{HOST, HeaderMap, HeaderValue, ORIGIN};
use hyper::http::request::Parts;
use hyper::http::uri::Authority;
use hyper::{StatusCode, Version};

use super::cors::Page;
use super::error::Error;

/// Who may call over TCP besides the daemon's own names, as the operator lists them. Default nobody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Callers {
    names: Vec<String>,
    origins: Vec<String>,
}

/// What is no name, or no origin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallersError {
    #[error(
        "{0:?} is not the name of a host alone, such as build.example or 192.0.2.7: no scheme, no port, no pattern"
    )]
    Name(String),
    #[error(
        "{0:?} is not one exact origin as browsers send it, such as https://app.example or http://localhost:3000: \
         in small letters, without a path, without the scheme's own port, no pattern, not null"
    )]
    Origin(String),
}

impl Callers {
    /// Requests may name the hosts `names`, and come from pages of `origins`.
    ///
    /// # Errors
    /// [`CallersError`] for what no request could match, and for patterns.
    pub fn new(names: Vec<String>, origins: Vec<String>) -> Result<Self, CallersError> {
        if let Some(name) = names.iter().find(|name| !is_name(name)) {
            return Err(CallersError::Name(name.clone()));
        }
        if let Some(origin) = origins.iter().find(|origin| !is_origin(origin)) {
            return Err(CallersError::Origin(origin.clone()));
        }
        Ok(Self { names, origins })
    }

    /// Whether pages of any other origin are served.
    pub(super) fn has_pages(&self) -> bool {
        !self.origins.is_empty()
    }
}

/// Whether this is a host and nothing else.
fn is_name(text: &str) -> bool {
    let is_literal = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'))
        .is_some_and(|text| text.parse::<std::net::Ipv6Addr>().is_ok());
    let of_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    is_literal || (!text.is_empty() && text.bytes().all(of_name))
}

/// Whether this is an origin in the one form in which browsers send it.
fn is_origin(text: &str) -> bool {
    let (own_port, host) = match text.split_once("://") {
        Some(("http", host)) => (":80", host),
        Some(("https", host)) => (":443", host),
        _ => return false,
    };
    let name = match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => {
            let is_port = port.parse::<u16>().is_ok_and(|number| number > 0 && number.to_string() == port);
            if !is_port || host.ends_with(own_port) {
                return false;
            }
            name
        }
        _ => host,
    };
    is_name(name) && !text.bytes().any(|byte| byte.is_ascii_uppercase())
}

/// The names that a TCP address is served under.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    /// The host as the operator wrote it.
    pub(crate) bound: String,
    /// Where this connection came in.
    pub(crate) local: IpAddr,
    /// Who else may call.
    pub(crate) callers: Arc<Callers>,
    /// The certificate that it came in under, where there is one: whatever that is for is a name, and no page of another has it.
    pub(crate) certificate: Option<Arc<Material>>,
}

impl Names {
    /// Refuses a request that names another host, or comes from the page of another that is not listed. Gives the page where it is.
    ///
    /// # Errors
    /// [`Error`], 403 `host_not_allowed`; 400 where there is no host at all.
    pub(super) fn check(&self, head: &Parts) -> Result<Option<Page>, Error> {
        let host = match (head.uri.authority(), one(&head.headers, &HOST)?) {
            (Some(authority), _) => authority.as_str(),
            (None, Some(host)) => host,
            // A client of HTTP/1.0 need not say; no browser is one.
            (None, None) if head.version < Version::HTTP_11 => return Ok(None),
            (None, None) => return Err(Error::new(StatusCode::BAD_REQUEST, "bad_request", "the request has no Host")),
        };
        if !host.parse().is_ok_and(|host| self.has(&host)) {
            return Err(Error::host_not_allowed("Host", host));
        }
        match one(&head.headers, &ORIGIN)? {
            None => Ok(None),
            Some(origin) if is_of(origin, host) => Ok(None),
            Some(origin) if self.callers.origins.iter().any(|listed| listed == origin) => {
                Ok(Some(Page::of(head.headers[ORIGIN].clone(), head)))
            }
            Some(origin) => Err(Error::host_not_allowed("Origin", origin)),
        }
    }

    fn has(&self, host: &Authority) -> bool {
        if host.as_str().contains('@') {
            return false;
        }
        let name = host.host();
        let literal = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
        let is_name = |own: &str| name.eq_ignore_ascii_case(own);
        let is_own = match literal.parse::<IpAddr>() {
            Ok(ip) => ip.to_canonical().is_loopback() || ip.to_canonical() == self.local.to_canonical(),
            Err(_) => is_name("localhost") || is_name(&self.bound),
        };
        let is_certified = || self.certificate.as_ref().is_some_and(|certificate| certificate.is_for(literal));
        is_own || self.callers.names.iter().any(|listed| is_name(listed)) || is_certified()
    }
}

fn one<'a>(headers: &'a HeaderMap, name: &hyper::header::HeaderName) -> Result<Option<&'a str>, Error> {
    let mut values = headers.get_all(name).iter();
    match (values.next().map(HeaderValue::to_str), values.next()) {
        (None, _) => Ok(None),
        (Some(Ok(value)), None) => Ok(Some(value)),
        _ => Err(Error::bad_request(format!("{name} is there twice, or is not text"))),
    }
}

/// Whether a page of this origin was served under this very host and port.
fn is_of(origin: &str, host: &str) -> bool {
    let authority = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    authority.is_some_and(|authority| authority.eq_ignore_ascii_case(host))
}

#[cfg(test)]
mod tests {
    use hyper::Request;

    use super::*;

    fn check(headers: &[(&str, &str)]) -> Result<Option<Page>, Error> {
        let listed = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        let callers = Callers::new(listed(&["ci.example", "192.0.2.7"]), listed(&["https://app.example"])).unwrap();
        let (bound, local) = ("build.example".into(), "10.0.0.7".parse().unwrap());
        let names = Names { bound, local, callers: Arc::new(callers), certificate: None };
        let request = headers.iter().fold(Request::get("/"), |request, (name, value)| request.header(*name, *value));
        names.check(&request.body(()).unwrap().into_parts().0)
    }

    #[test]
    fn own_names_are_served() {
        for host in [
            "localhost",
            "LOCALHOST:80",
            "127.0.0.1:80",
            "127.9.9.9",
            "[::1]:80",
            "10.0.0.7:80",
            "build.example",
            "Build.Example:1",
            "ci.example",
            "CI.example:8443",
            "192.0.2.7:80",
        ] {
            check(&[("host", host)]).unwrap_or_else(|error| panic!("{host}: {error}"));
        }
    }

    #[test]
    fn other_names_are_not() {
        for host in [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "10.0.0.8",
            "",
            "a b",
            "user@localhost",
            "[::1",
            "0.0.0.0",
            "192.0.2.8",
            "sub.ci.example",
        ] {
            assert!(check(&[("host", host)]).is_err(), "{host:?} was served");
        }
        assert!(check(&[]).is_err(), "HTTP/1.1 needs a Host");
        assert!(check(&[("host", "localhost"), ("host", "localhost")]).is_err(), "two hosts are none");
    }

    #[test]
    fn a_page_must_be_of_the_same_host_and_port() {
        let from = |origin| check(&[("host", "localhost:80"), ("origin", origin)]);
        assert!(from("http://localhost:80").is_ok());
        for origin in [
            "null",
            "http://evil.example",
            "http://localhost",
            "http://localhost:81",
            "http://127.0.0.1:80",
            "file://localhost:80",
        ] {
            assert!(from(origin).is_err(), "{origin} was served");
        }
    }

    #[test]
    fn a_page_of_an_origin_that_is_listed_is_served_and_no_other() {
        let from = |origin| check(&[("host", "localhost:80"), ("origin", origin)]);
        assert!(from("https://app.example").unwrap().is_some());
        assert!(from("http://localhost:80").unwrap().is_none(), "it is the daemon's own");
        for origin in [
            "http://app.example",
            "https://app.example:8443",
            "https://APP.example",
            "https://app.example/",
            "https://app.example.evil.example",
            "https://sub.app.example",
            "null",
            "",
        ] {
            assert!(from(origin).is_err(), "{origin} was served");
        }
        let evil = [("host", "evil.example"), ("origin", "https://app.example")];
        assert!(check(&evil).is_err(), "a listed page does not make up for a name that is not the daemon's");
    }

    #[test]
    fn what_no_browser_sends_and_patterns_are_refused() {
        let origins = |origin: &str| Callers::new(Vec::new(), vec![origin.to_owned()]);
        for origin in ["https://app.example", "http://localhost:3000", "https://app.example:80", "http://[::1]:8080"] {
            assert!(origins(origin).is_ok(), "{origin}");
        }
        for origin in [
            "*",
            "null",
            "",
            "https://*",
            "https://*.example",
            "app.example",
            "https://",
            "https://app.example/",
            "https://app.example/x",
            "https://App.example",
            "https://app.example:443",
            "http://app.example:80",
            "https://app.example:0443",
            "https://app.example:70000",
            "https://user@app.example",
            "ftp://app.example",
            "https://a,https://b",
        ] {
            assert_eq!(origins(origin), Err(CallersError::Origin(origin.into())), "{origin}");
        }
        let names = |name: &str| Callers::new(vec![name.to_owned()], Vec::new());
        for name in ["build.example", "192.0.2.7", "[2001:db8::1]"] {
            assert!(names(name).is_ok(), "{name}");
        }
        for name in ["", "*", "*.example", "http://build.example", "build.example:80", "a b", "a@b", "[::1"] {
            assert_eq!(names(name), Err(CallersError::Name(name.into())), "{name}");
        }
    }
}
