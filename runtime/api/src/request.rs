//! `Request`: what an API function gets to see of a request.

use std::borrow::Cow;
use std::sync::Arc;

use capstan_engine::handler::InvalidName;
use capstan_engine::job::JobId;
use capstan_engine::registry::RegistryError;
use hyper::Version;
use hyper::body::Incoming;
use hyper::header::{CONTENT_LENGTH, TE};
use hyper::http::request::Parts;
use percent_encoding::percent_decode_str;

use super::error::Error;
use super::peer::Presence;
use super::upgrade::Afterwards;

/// A request on its way to its API function.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) head: Parts,
    pub(crate) body: Incoming,
    /// The name of a handler or the id of a job in the path, still encoded; empty where the route has neither.
    pub(crate) name: String,
    /// The connection it came on.
    pub(crate) presence: Arc<Presence>,
    /// What that is for once it is over with HTTP.
    pub(crate) afterwards: Afterwards,
}

impl Request {
    /// The name of a handler in the path.
    ///
    /// # Errors
    /// [`Error`] where it is not text.
    pub(crate) fn handler(&self) -> Result<String, Error> {
        decoded(&self.name).map(Cow::into_owned).map_err(|_| RegistryError::from(InvalidName(self.name.clone())).into())
    }

    /// The id of a job in the path.
    ///
    /// # Errors
    /// [`Error`] where it is none, as for a job that is not known.
    pub(crate) fn job(&self) -> Result<JobId, Error> {
        self.name.parse().map_err(|_| Error::unknown_job(&self.name))
    }

    /// The parameters of the query in their order, decoded.
    ///
    /// # Errors
    /// [`Error`] for what is not UTF-8.
    pub(crate) fn query(&self) -> Result<Vec<(String, String)>, Error> {
        query(self.head.uri.query().unwrap_or_default())
    }

    /// Whether the client takes trailers, and they can be sent.
    pub(crate) fn takes_trailers(&self) -> bool {
        self.head.version >= Version::HTTP_11 && self.lists(&TE, "trailers")
    }

    /// Whether a header that is a list has this item, whatever its parameters.
    pub(crate) fn lists(&self, header: &hyper::header::HeaderName, item: &str) -> bool {
        let lines = self.head.headers.get_all(header).iter().filter_map(|value| value.to_str().ok());
        let mut items = lines.flat_map(|line| line.split(','));
        items.any(|listed| listed.split(';').next().is_some_and(|name| name.trim().eq_ignore_ascii_case(item)))
    }

    /// The length of the body where the client told it.
    pub(crate) fn content_length(&self) -> Option<u64> {
        self.head.headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
    }

    /// Whether the answer will be sent in chunks if its length is not known.
    pub(crate) fn is_answered_in_chunks(&self) -> bool {
        self.head.version == Version::HTTP_11
    }
}

/// Splits a query as forms do: `&` between, `+` for a space.
pub(super) fn query(text: &str) -> Result<Vec<(String, String)>, Error> {
    let decode = |text: &str| {
        let spaced = text.replace('+', " ");
        decoded(&spaced)
            .map(Cow::into_owned)
            .map_err(|_| Error::bad_request(format!("{text:?} in the query is not UTF-8")))
    };
    text.split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decode(key)?, decode(value)?))
        })
        .collect()
}

/// The text that a percent-encoded one stands for.
///
/// # Errors
/// That it is not UTF-8.
pub(crate) fn decoded(text: &str) -> Result<Cow<'_, str>, std::str::Utf8Error> {
    percent_decode_str(text).decode_utf8()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_keeps_its_order_and_what_is_empty() {
        let pairs = query("arg=a+b&arg=&x&arg=%26%3D%C3%BC%2B&&arg=k=v").unwrap();
        let pairs: Vec<_> = pairs.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        assert_eq!(pairs, [("arg", "a b"), ("arg", ""), ("x", ""), ("arg", "&=ü+"), ("arg", "k=v")]);
        assert_eq!(query("").unwrap(), []);
    }

    #[test]
    fn what_is_not_text_is_refused() {
        for text in ["arg=%FF", "%C3=x", "a=%ED%A0%80"] {
            assert!(query(text).is_err(), "{text}");
        }
    }
}
