//! Which hosts and origins a TCP request may name.
//!
//! A web page can make the browser of its reader send requests to any address, under a name that an attacker resolves to that address
//! (DNS rebinding). The page cannot forge the name: `Host` is the name that the page used, and `Origin` is where the page came from.
//! Requests over a unix socket do not come from browsers, so there nothing is checked.

use std::net::IpAddr;
use std::sync::Arc;

use capstan_listen::tls::Material;
use hyper::header::{HOST, HeaderMap, HeaderValue, ORIGIN};
use hyper::http::request::Parts;
use hyper::http::uri::Authority;
use hyper::{StatusCode, Version};

use super::cors::AllowedOrigin;
use super::error::Error;

/// The hosts and origins that the operator allows besides the daemon's own names. By default none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowedHosts {
    names: Vec<String>,
    origins: Vec<String>,
}

/// Why a host or an origin cannot be allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AllowedHostsError {
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

impl AllowedHosts {
    /// Allows requests to the hosts `names`, and from pages of `origins`.
    ///
    /// # Errors
    /// [`AllowedHostsError`] for patterns, and for names and origins that no request can have.
    pub fn new(names: Vec<String>, origins: Vec<String>) -> Result<Self, AllowedHostsError> {
        if let Some(name) = names.iter().find(|name| !is_host(name)) {
            return Err(AllowedHostsError::Name(name.clone()));
        }
        if let Some(origin) = origins.iter().find(|origin| !is_origin(origin)) {
            return Err(AllowedHostsError::Origin(origin.clone()));
        }
        Ok(Self { names, origins })
    }

    /// Returns whether pages of any other origin are allowed.
    pub(super) fn has_origins(&self) -> bool {
        !self.origins.is_empty()
    }
}

/// Returns whether this is the name or address of a host and nothing else.
fn is_host(text: &str) -> bool {
    let is_literal = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'))
        .is_some_and(|text| text.parse::<std::net::Ipv6Addr>().is_ok());
    let is_name_byte = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    is_literal || (!text.is_empty() && text.bytes().all(is_name_byte))
}

/// Returns whether this is an origin in the exact form in which browsers send it.
fn is_origin(text: &str) -> bool {
    let (default_port, authority) = match text.split_once("://") {
        Some(("http", authority)) => (":80", authority),
        Some(("https", authority)) => (":443", authority),
        _ => return false,
    };
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => {
            let is_port = port.parse::<u16>().is_ok_and(|number| number > 0 && number.to_string() == port);
            if !is_port || authority.ends_with(default_port) {
                return false;
            }
            host
        }
        _ => authority,
    };
    is_host(host) && !text.bytes().any(|byte| byte.is_ascii_uppercase())
}

/// The names that requests of one TCP connection may have in `Host`.
#[derive(Clone, Debug)]
pub(crate) struct ServedNames {
    /// The host of the listener as the operator wrote it.
    pub(crate) bound_host: String,
    /// The local address of the connection.
    pub(crate) local_address: IpAddr,
    /// The hosts and origins that are allowed besides.
    pub(crate) allowed: Arc<AllowedHosts>,
    /// The certificate of a TLS connection. Its names are served too: no page of another site can use them.
    pub(crate) certificate: Option<Arc<Material>>,
}

impl ServedNames {
    /// Checks `Host` and `Origin` of a request. Returns the origin if it is another one that the operator allows.
    ///
    /// # Errors
    /// [`Error`], 403 `host_not_allowed`; 400 where there is no host at all.
    pub(super) fn check(&self, head: &Parts) -> Result<Option<AllowedOrigin>, Error> {
        let host = match (head.uri.authority(), single_value(&head.headers, &HOST)?) {
            (Some(authority), _) => authority.as_str(),
            (None, Some(host)) => host,
            // HTTP/1.0 does not require it, and no browser uses HTTP/1.0.
            (None, None) if head.version < Version::HTTP_11 => return Ok(None),
            (None, None) => {
                let message = "the request has no Host header; HTTP/1.1 requires one";
                return Err(Error::new(StatusCode::BAD_REQUEST, "bad_request", message));
            }
        };
        if !host.parse().is_ok_and(|host| self.contains(&host)) {
            return Err(Error::host_not_allowed("Host", host, "names"));
        }
        match single_value(&head.headers, &ORIGIN)? {
            None => Ok(None),
            Some(origin) if is_same_origin(origin, host) => Ok(None),
            Some(origin) if self.allowed.origins.iter().any(|allowed| allowed == origin) => {
                Ok(Some(AllowedOrigin::new(head.headers[ORIGIN].clone(), head)))
            }
            Some(origin) => Err(Error::host_not_allowed("Origin", origin, "origins")),
        }
    }

    fn contains(&self, authority: &Authority) -> bool {
        if authority.as_str().contains('@') {
            return false;
        }
        let host = authority.host();
        let literal = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let is_host = |name: &str| host.eq_ignore_ascii_case(name);
        let is_own = match literal.parse::<IpAddr>() {
            Ok(ip) => ip.to_canonical().is_loopback() || ip.to_canonical() == self.local_address.to_canonical(),
            Err(_) => is_host("localhost") || is_host(&self.bound_host),
        };
        let is_certified = || self.certificate.as_ref().is_some_and(|certificate| certificate.is_for(literal));
        is_own || self.allowed.names.iter().any(|allowed| is_host(allowed)) || is_certified()
    }
}

fn single_value<'a>(headers: &'a HeaderMap, name: &hyper::header::HeaderName) -> Result<Option<&'a str>, Error> {
    let mut values = headers.get_all(name).iter();
    match (values.next().map(HeaderValue::to_str), values.next()) {
        (None, _) => Ok(None),
        (Some(Ok(value)), None) => Ok(Some(value)),
        _ => Err(Error::bad_request(format!("the header {name} occurs more than once, or is not text"))),
    }
}

/// Returns whether a page of this origin was served under this host and port.
fn is_same_origin(origin: &str, host: &str) -> bool {
    let authority = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    authority.is_some_and(|authority| authority.eq_ignore_ascii_case(host))
}

#[cfg(test)]
mod tests {
    use hyper::Request;

    use super::*;

    fn check(headers: &[(&str, &str)]) -> Result<Option<AllowedOrigin>, Error> {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        let allowed = AllowedHosts::new(owned(&["ci.example", "192.0.2.7"]), owned(&["https://app.example"])).unwrap();
        let (bound_host, local_address) = ("build.example".into(), "10.0.0.7".parse().unwrap());
        let names = ServedNames { bound_host, local_address, allowed: Arc::new(allowed), certificate: None };
        let request = headers.iter().fold(Request::get("/"), |request, (name, value)| request.header(*name, *value));
        names.check(&request.body(()).unwrap().into_parts().0)
    }

    #[test]
    fn check_accepts_own_and_allowed_hosts() {
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
    fn check_rejects_other_hosts() {
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
        assert!(check(&[("host", "localhost"), ("host", "localhost")]).is_err(), "two hosts are rejected");
    }

    #[test]
    fn check_accepts_page_of_same_host_and_port_only() {
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
    fn check_accepts_page_of_allowed_origin_only() {
        let from = |origin| check(&[("host", "localhost:80"), ("origin", origin)]);
        assert!(from("https://app.example").unwrap().is_some());
        assert!(from("http://localhost:80").unwrap().is_none(), "it is the origin of the daemon itself");
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
        assert!(check(&evil).is_err(), "an allowed origin does not permit another host");
    }

    #[test]
    fn new_rejects_patterns_and_origins_that_no_browser_sends() {
        let origins = |origin: &str| AllowedHosts::new(Vec::new(), vec![origin.to_owned()]);
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
            assert_eq!(origins(origin), Err(AllowedHostsError::Origin(origin.into())), "{origin}");
        }
        let names = |name: &str| AllowedHosts::new(vec![name.to_owned()], Vec::new());
        for name in ["build.example", "192.0.2.7", "[2001:db8::1]"] {
            assert!(names(name).is_ok(), "{name}");
        }
        for name in ["", "*", "*.example", "http://build.example", "build.example:80", "a b", "a@b", "[::1"] {
            assert_eq!(names(name), Err(AllowedHostsError::Name(name.into())), "{name}");
        }
    }
}
