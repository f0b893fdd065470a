//! The variables that describe a request (RFC 3875, 4.1).

use std::collections::BTreeMap;
use std::net::IpAddr;

use capstan_core::env::Env;
use hyper::Version;
use hyper::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, EXPECT, HeaderMap, HeaderName, HeaderValue,
    PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};

use super::super::super::error::Error;
use super::super::super::request::{Request, percent_decode};
use super::super::Target;
use super::super::request_head;

/// The value of `SERVER_SOFTWARE`.
const SOFTWARE: &str = concat!("capstan/", env!("CARGO_PKG_VERSION"));

/// Fields that no variable has: those of the connection, those with a variable of their own, and credentials (RFC 3875, 4.1.18).
/// `HTTP_PROXY` would be read as the configuration of a client ("httpoxy").
const LEFT_OUT: [HeaderName; 13] = [
    AUTHORIZATION,
    CONNECTION,
    CONTENT_LENGTH,
    CONTENT_TYPE,
    EXPECT,
    PROXY_AUTHORIZATION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy"),
    HeaderName::from_static("proxy-connection"),
];

/// Where `CONTENT_LENGTH` comes from.
#[derive(Clone, Copy, Debug)]
pub(in super::super) enum Length {
    /// The header of the request. A body of unknown length has no `CONTENT_LENGTH`, and ends with stdin.
    OfHeader,
    /// The body, which was read to its end.
    Known(usize),
}

/// Returns the variables of a request.
///
/// # Errors
/// [`Error`], 400, if the path or the query has a NUL or is not UTF-8 after percent-decoding, or the header `Host` is not ASCII.
pub(in super::super) fn from_request(request: &Request, target: &Target, length: Length) -> Result<Env, Error> {
    let head = &request.head;
    let authority = request_head::authority(head)?;
    let is_tls = request.peer.is_tls();
    let (name, port) = name_and_port(&authority, is_tls);
    let path_info = percent_decode(target.path_info())
        .map_err(|_| Error::bad_request("the path is not UTF-8 after percent-decoding"))?;
    // Locally the client is a process of this machine.
    let address = request.peer.address().map_or_else(|| "127.0.0.1".to_owned(), |address| plain_ip(address.ip()));
    let mut env = Env::new();
    let mut set = |name: &str, value: &str| {
        env.set(name, value).map_err(|_| Error::bad_request(format!("the value of {name} would contain a NUL")))
    };
    set("GATEWAY_INTERFACE", "CGI/1.1")?;
    set("SERVER_SOFTWARE", SOFTWARE)?;
    set("SERVER_PROTOCOL", protocol(head.version))?;
    set("SERVER_NAME", name)?;
    set("SERVER_PORT", port)?;
    set("REQUEST_METHOD", head.method.as_str())?;
    set("REQUEST_SCHEME", if is_tls { "https" } else { "http" })?;
    set("REQUEST_URI", head.uri.path_and_query().map_or("/", |uri| uri.as_str()))?;
    set("SCRIPT_NAME", &target.script_name)?;
    set("PATH_INFO", &path_info)?;
    set("QUERY_STRING", target.query())?;
    set("REMOTE_ADDR", &address)?;
    set("REMOTE_HOST", &address)?;
    if is_tls {
        set("HTTPS", "on")?;
    }
    for (name, value) in &target.variables {
        set(name, value)?;
    }
    if let Some(content_type) = head.headers.get(CONTENT_TYPE) {
        set("CONTENT_TYPE", &String::from_utf8_lossy(content_type.as_bytes()))?;
    }
    let length = match length {
        Length::OfHeader => request.content_length(),
        Length::Known(length) => Some(length as u64),
    };
    if let Some(length) = length {
        set("CONTENT_LENGTH", &length.to_string())?;
    }
    for (name, value) in fields(&head.headers) {
        set(&name, &value)?;
    }
    Ok(env)
}

/// Returns the variables of the header fields. Fields with the same name are joined.
///
/// A name that has other characters than letters, digits and `-` has none: `x_real_ip` must not pass for `x-real-ip`.
fn fields(headers: &HeaderMap) -> BTreeMap<String, String> {
    let is_kept = |name: &HeaderName| {
        !LEFT_OUT.contains(name) && name.as_str().bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    let mut variables = BTreeMap::new();
    for name in headers.keys().filter(|name| is_kept(name)) {
        // HTTP/2 may split cookies into fields (RFC 9113, 8.2.3).
        let separator = if *name == COOKIE { "; " } else { ", " };
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let values: Vec<_> = headers.get_all(name).iter().map(text).collect();
        let variable = format!("HTTP_{}", name.as_str().to_ascii_uppercase().replace('-', "_"));
        variables.insert(variable, values.join(separator));
    }
    variables
}

/// Splits an authority such as `example.com:8080` or `[::1]`. The port is that of the scheme unless it is named.
fn name_and_port(authority: &str, is_tls: bool) -> (&str, &str) {
    let default = if is_tls { "443" } else { "80" };
    match authority.rsplit_once(':') {
        Some((name, port)) if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => (name, port),
        Some((name, "")) => (name, default),
        _ => (authority, default),
    }
}

/// Formats an address. A client of IPv4 at a socket of IPv6 is shown as IPv4.
fn plain_ip(address: IpAddr) -> String {
    address.to_canonical().to_string()
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2.0",
        _ => "HTTP/1.1",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(headers: &[(&'static str, &'static str)]) -> Vec<(String, String)> {
        let headers = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .fold(HeaderMap::new(), |mut headers, (name, value)| {
                headers.append(name, value);
                headers
            });
        fields(&headers).into_iter().collect()
    }

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    #[test]
    fn repeated_fields_are_joined() {
        let joined = variables(&[("x-a", "1"), ("cookie", "a=1"), ("x-a", "2"), ("cookie", "b=2")]);
        assert_eq!(joined, [pair("HTTP_COOKIE", "a=1; b=2"), pair("HTTP_X_A", "1, 2")]);
    }

    #[test]
    fn proxy_credentials_and_names_with_underscores_are_left_out() {
        let left_out = [("proxy", "http://evil"), ("authorization", "Basic x"), ("x_real_ip", "1"), ("te", "trailers")];
        assert_eq!(variables(&left_out), []);
        assert_eq!(variables(&[("x-real-ip", "1")]), [pair("HTTP_X_REAL_IP", "1")]);
    }

    #[test]
    fn authority_is_split_into_name_and_port() {
        for (authority, is_tls, expected) in [
            ("a.example:8080", false, ("a.example", "8080")),
            ("a.example", false, ("a.example", "80")),
            ("a.example", true, ("a.example", "443")),
            ("a.example:", true, ("a.example", "443")),
            ("[::1]:81", false, ("[::1]", "81")),
            ("[::1]", false, ("[::1]", "80")),
        ] {
            assert_eq!(name_and_port(authority, is_tls), expected, "{authority}");
        }
    }
}
