//! `Request`: a request as an API function sees it.

use std::borrow::Cow;
use std::sync::Arc;

use capstan_engine::handler::InvalidName;
use capstan_engine::job::JobId;
use capstan_engine::registry::RegistryError;
use hyper::Version;
use hyper::body::Incoming;
use hyper::header::{CONTENT_ENCODING, CONTENT_LENGTH, HeaderName, TE};
use hyper::http::request::Parts;
use percent_encoding::percent_decode_str;

use super::error::Error;
use super::peer::Peer;
use super::session::SessionSlot;

/// A request that the router passes to its API function.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) head: Parts,
    pub(crate) body: Incoming,
    /// The name of a handler or the id of a job in the path, still percent-encoded; empty where the route has neither.
    pub(crate) path_parameter: String,
    /// The socket of the connection.
    pub(crate) peer: Arc<Peer>,
    /// Where an upgrade leaves what the connection runs after HTTP.
    pub(crate) session_slot: SessionSlot,
}

impl Request {
    /// Returns the name of the handler in the path.
    ///
    /// # Errors
    /// [`Error`], 400 `invalid_name`, where it is not UTF-8.
    pub(crate) fn handler_name(&self) -> Result<String, Error> {
        percent_decode(&self.path_parameter)
            .map(Cow::into_owned)
            .map_err(|_| RegistryError::from(InvalidName(self.path_parameter.clone())).into())
    }

    /// Returns the id of the job in the path.
    ///
    /// # Errors
    /// [`Error`], 404 `unknown_job`, where it is not an id, as for a job that does not exist.
    pub(crate) fn job_id(&self) -> Result<JobId, Error> {
        self.path_parameter.parse().map_err(|_| Error::unknown_job(&self.path_parameter))
    }

    /// Returns the parameters of the query in their order, decoded.
    ///
    /// # Errors
    /// [`Error`], 400, for parameters that are not UTF-8.
    pub(crate) fn query(&self) -> Result<Vec<(String, String)>, Error> {
        parse_query(self.head.uri.query().unwrap_or_default())
    }

    /// Returns whether the response may have trailers. Over HTTP/2 every response may: a client that does not read them ignores them. A
    /// stream that is reset instead loses what its client has not read yet.
    pub(crate) fn accepts_trailers(&self) -> bool {
        let version = self.head.version;
        version >= Version::HTTP_2 || version == Version::HTTP_11 && self.header_lists(&TE, "trailers")
    }

    /// Returns an error if the body is compressed.
    ///
    /// # Errors
    /// [`Error`], 415 `unsupported_encoding`.
    pub(crate) fn reject_encoded_body(&self) -> Result<(), Error> {
        match self.head.headers.get(CONTENT_ENCODING) {
            Some(encoding) if encoding != "identity" => {
                Err(Error::encoded_body(&String::from_utf8_lossy(encoding.as_bytes())))
            }
            _ => Ok(()),
        }
    }

    /// Returns whether a header that is a list contains `item`, with any parameters.
    pub(crate) fn header_lists(&self, header: &HeaderName, item: &str) -> bool {
        let lines = self.head.headers.get_all(header).iter().filter_map(|value| value.to_str().ok());
        let mut items = lines.flat_map(|line| line.split(','));
        items.any(|listed| listed.split(';').next().is_some_and(|name| name.trim().eq_ignore_ascii_case(item)))
    }

    /// Returns the length of the body, where the client has sent it.
    pub(crate) fn content_length(&self) -> Option<u64> {
        self.head.headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
    }

    /// Returns whether a response of unknown length is sent in chunks.
    pub(crate) fn is_response_chunked(&self) -> bool {
        self.head.version == Version::HTTP_11
    }
}

/// Parses a query like a form: `&` separates parameters, and `+` is a space.
///
/// # Errors
/// [`Error`], 400, for parameters that are not UTF-8.
pub(super) fn parse_query(text: &str) -> Result<Vec<(String, String)>, Error> {
    let decode = |text: &str| {
        let spaced = text.replace('+', " ");
        percent_decode(&spaced)
            .map(Cow::into_owned)
            .map_err(|_| Error::bad_request(format!("{text:?} in the query is not UTF-8 after percent-decoding")))
    };
    text.split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decode(key)?, decode(value)?))
        })
        .collect()
}

/// Decodes a percent-encoded text.
///
/// # Errors
/// [`Utf8Error`](std::str::Utf8Error) where the result is not UTF-8.
pub(crate) fn percent_decode(text: &str) -> Result<Cow<'_, str>, std::str::Utf8Error> {
    percent_decode_str(text).decode_utf8()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parse_query_keeps_order_and_empty_values() {
        let pairs = parse_query("arg=a+b&arg=&x&arg=%26%3D%C3%BC%2B&&arg=k=v").unwrap();
        let pairs: Vec<_> = pairs.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        assert_eq!(pairs, [("arg", "a b"), ("arg", ""), ("x", ""), ("arg", "&=ü+"), ("arg", "k=v")]);
        assert_eq!(parse_query("").unwrap(), []);
    }

    #[test]
    fn parse_query_rejects_text_that_is_not_utf8() {
        for text in ["arg=%FF", "%C3=x", "a=%ED%A0%80"] {
            assert!(parse_query(text).is_err(), "{text}");
        }
    }
}
