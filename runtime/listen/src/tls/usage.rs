//! `Usage`: the side of a connection that a certificate is used for.

use std::fmt;

/// The side of a connection that a certificate is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    Server,
    Client,
}

impl Usage {
    /// Returns the name of the extended key usage that allows it (RFC 5280, section 4.2.1.12).
    pub(super) fn extended_key_usage(self) -> &'static str {
        match self {
            Self::Server => "serverAuth",
            Self::Client => "clientAuth",
        }
    }
}

impl fmt::Display for Usage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Server => "server",
            Self::Client => "client",
        })
    }
}
