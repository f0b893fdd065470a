//! `Caller`: who is at the other end of a connection, as far as the connection itself tells.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use serde::{Serialize, Serializer};

/// Who is at the other end of a connection. Nobody can claim to be another: the kernel says so, or a certificate that was verified.
///
/// In JSON an object with `kind`: `process`, `certificate` or `anyone`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Caller {
    /// A process of this machine, on a unix socket, as it was when it connected.
    Process {
        uid: u32,
        gid: u32,
        /// Not there where it is in a namespace that this one does not see.
        pid: Option<i32>,
    },
    /// Who has shown a client certificate.
    #[serde(rename = "certificate")]
    Certified(#[serde(serialize_with = "identity")] Arc<Identity>),
    /// Whoever is there, over TCP; not even the address where they have left.
    Anyone { address: Option<SocketAddr> },
}

/// Who a certificate was issued to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Identity {
    /// What it is to be known by: the URIs of its subject alternative names, then the DNS names. May be empty.
    pub names: Vec<String>,
    /// Its subject, for people to read: anyone may have the same.
    pub subject: String,
    /// SHA-256 of the certificate, in hexadecimal.
    pub fingerprint: String,
}

fn identity<S: Serializer>(identity: &Arc<Identity>, serializer: S) -> Result<S::Ok, S::Error> {
    identity.serialize(serializer)
}

impl fmt::Display for Caller {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process { uid, gid, pid: Some(pid) } => write!(formatter, "uid {uid}, gid {gid}, pid {pid}"),
            Self::Process { uid, gid, pid: None } => write!(formatter, "uid {uid}, gid {gid}"),
            Self::Certified(identity) => identity.fmt(formatter),
            Self::Anyone { address: Some(address) } => address.fmt(formatter),
            Self::Anyone { address: None } => formatter.write_str("nobody any more"),
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.names.first().unwrap_or(&self.subject);
        write!(formatter, "{name} (sha256:{})", &self.fingerprint[..16])
    }
}
