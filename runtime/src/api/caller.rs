//! Who may call over TCP: only who names this daemon by a name that is its own.
//!
//! A web page can make its reader's browser send requests to any address, under a name that was made to point there. What it cannot do
//! is lie about that name: `Host` has the name that the page used, `Origin` where the page came from. On a unix socket there are no
//! browsers, and nothing is checked.

use std::net::IpAddr;
use std::sync::Arc;

use hyper::header::{HOST, HeaderMap, HeaderValue, ORIGIN};
use hyper::http::request::Parts;
use hyper::http::uri::Authority;
use hyper::{StatusCode, Version};

use super::error::Error;
use crate::tls::Material;

/// The names that a TCP address is served under.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    /// The host as the operator wrote it.
    pub(crate) bound: String,
    /// Where this connection came in.
    pub(crate) local: IpAddr,
    /// The certificate that it came in under, where there is one: whatever that is for is a name, and no page of another has it.
    pub(crate) certificate: Option<Arc<Material>>,
}

impl Names {
    /// Refuses a request that names another host, or comes from the page of another.
    ///
    /// # Errors
    /// [`Error`], 403 `host_not_allowed`; 400 where there is no host at all.
    pub(crate) fn check(&self, head: &Parts) -> Result<(), Error> {
        let host = match (head.uri.authority(), one(&head.headers, &HOST)?) {
            (Some(authority), _) => authority.as_str(),
            (None, Some(host)) => host,
            // A client of HTTP/1.0 need not say; no browser is one.
            (None, None) if head.version < Version::HTTP_11 => return Ok(()),
            (None, None) => return Err(Error::new(StatusCode::BAD_REQUEST, "bad_request", "the request has no Host")),
        };
        if !host.parse().is_ok_and(|host| self.has(&host)) {
            return Err(Error::host_not_allowed("Host", host));
        }
        match one(&head.headers, &ORIGIN)? {
            Some(origin) if !is_of(origin, host) => Err(Error::host_not_allowed("Origin", origin)),
            _ => Ok(()),
        }
    }

    fn has(&self, host: &Authority) -> bool {
        if host.as_str().contains('@') {
            return false;
        }
        let name = host.host();
        let literal = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
        let is_own = match literal.parse::<IpAddr>() {
            Ok(ip) => ip.to_canonical().is_loopback() || ip.to_canonical() == self.local.to_canonical(),
            Err(_) => name.eq_ignore_ascii_case("localhost") || name.eq_ignore_ascii_case(&self.bound),
        };
        is_own || self.certificate.as_ref().is_some_and(|certificate| certificate.is_for(literal))
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

    fn check(headers: &[(&str, &str)]) -> Result<(), Error> {
        let names = Names { bound: "build.example".into(), local: "10.0.0.7".parse().unwrap(), certificate: None };
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
}
