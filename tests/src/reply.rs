//! `Reply`: a complete response, and accessors for tests.

use bytes::Bytes;
use hyper::HeaderMap;
use serde_json::Value;

use crate::frames::{self, Framed};

/// A complete response.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub trailers: Option<HeaderMap>,
    /// Whether the body was truncated.
    pub cut: bool,
}

impl Reply {
    /// Returns a header of the response head.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// Returns a trailer.
    pub fn trailer(&self, name: &str) -> Option<&str> {
        self.trailers.as_ref()?.get(name).map(|value| value.to_str().unwrap())
    }

    /// Returns the body as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }

    /// Returns the body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }

    /// Returns the body as frames of a run.
    pub fn frames(&self) -> Framed {
        assert_eq!(self.header("content-type"), Some(frames::MEDIA_TYPE), "{self:?}");
        frames::demultiplex(&self.body)
    }

    /// Compares the status and the code of an error, and returns its message.
    #[track_caller]
    pub fn error(&self, status: u16, code: &str) -> String {
        assert_eq!(self.status, status, "{self:?}");
        let json = self.json();
        assert_eq!(json["error"]["code"], code, "{json}");
        let message = json["error"]["message"].as_str().unwrap_or_default();
        assert!(!message.is_empty(), "an error must have a message: {json}");
        message.to_owned()
    }

    /// Compares the outcome and the exit code, which are headers or trailers depending on how long the run took.
    #[track_caller]
    pub fn assert_outcome(&self, kind: &str, exit_code: u8) {
        assert_eq!(self.status, 200, "{self:?}");
        let field = |name| self.header(name).or_else(|| self.trailer(name));
        assert_eq!(field("capstan-outcome"), Some(kind), "{self:?}");
        assert_eq!(field("capstan-exit-code"), Some(exit_code.to_string().as_str()), "{self:?}");
    }
}
