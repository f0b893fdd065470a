//! [`RequestHead`] and [`ResponseHead`]: what comes before a body.

use super::Fields;

/// The head of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestHead {
    /// The method, such as `GET`.
    pub method: String,
    pub scheme: Scheme,
    /// The host that the client addressed, with the port if there is one.
    pub authority: String,
    /// The path as the guest sees it, with the query. It starts with `/`.
    pub path_and_query: String,
    pub fields: Fields,
}

/// How the client reached the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    Http,
    Https,
}

/// The head of a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResponseHead {
    /// The status code, from 100 to 999.
    pub status: u16,
    pub fields: Fields,
}

impl Scheme {
    /// Returns the scheme as URLs have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}
