//! [`Target`]: which handler answers a request, and the path that its guest sees.

use super::super::error::Error;
use super::super::request::{Request, percent_decode};

/// Where the handlers answer on the listeners of the API.
pub(in super::super) const PREFIX: &str = "/x/";

/// A request for a handler: which, and the path that its guest sees.
#[derive(Debug)]
pub(in super::super) struct Target {
    pub(in super::super) handler: String,
    /// Starts with `/`, and is still percent-encoded.
    pub(in super::super) path_and_query: String,
    /// The path of the request before the one that a command sees, decoded: `SCRIPT_NAME`.
    pub(in super::super) script_name: String,
    /// Whether the request has no path of its own, as `/x/hello` has none.
    pub(in super::super) is_bare: bool,
}

impl Target {
    /// Reads the target from a path such as `/x/hello/a/b?c`.
    ///
    /// # Errors
    /// [`Error`], 404, if the path names no handler.
    pub(super) fn parse(request: &Request) -> Result<Self, Error> {
        let uri = &request.head.uri;
        let rest = uri.path().strip_prefix(PREFIX).unwrap_or_default();
        let (name, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        if name.is_empty() {
            return Err(Error::not_found("the path names no handler: /x/HANDLER/PATH"));
        }
        let handler = percent_decode(name)
            .map_err(|_| Error::not_found("the name of the handler is not UTF-8 after percent-decoding"))?
            .into_owned();
        let mut path_and_query = if path.is_empty() { "/".to_owned() } else { path.to_owned() };
        if let Some(query) = uri.query() {
            path_and_query.push('?');
            path_and_query.push_str(query);
        }
        Ok(Self { script_name: format!("{PREFIX}{handler}"), handler, path_and_query, is_bare: path.is_empty() })
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
}
