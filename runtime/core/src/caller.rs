//! [`Caller`]: the peer of a connection, as far as the connection itself identifies it.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The peer of a connection. A peer cannot claim another identity: the kernel reports it, or a certificate proves it.
///
/// In JSON, an object whose `kind` is `process`, `certificate` or `anyone`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Caller {
    /// A process of this machine that connected to a unix socket, with its credentials at that time.
    Process {
        uid: u32,
        gid: u32,
        /// `None` if the process is in a PID namespace that the daemon cannot see.
        pid: Option<i32>,
    },
    /// A client that presented a verified certificate.
    Certificate(
        #[serde(serialize_with = "serialize_identity", deserialize_with = "deserialize_identity")] Arc<Identity>,
    ),
    /// Any other client over TCP.
    #[serde(rename = "anyone")]
    Unauthenticated {
        /// `None` if the client has already disconnected.
        address: Option<SocketAddr>,
    },
}

/// The subject of a client certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The URIs of the subject alternative names, then the DNS names. May be empty.
    pub names: Vec<String>,
    /// The distinguished name, for people to read. Not unique: several certificates may have the same.
    pub subject: String,
    /// SHA-256 of the certificate, in hexadecimal.
    pub fingerprint: String,
}

fn serialize_identity<S: Serializer>(identity: &Arc<Identity>, serializer: S) -> Result<S::Ok, S::Error> {
    identity.serialize(serializer)
}

fn deserialize_identity<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<Identity>, D::Error> {
    Identity::deserialize(deserializer).map(Arc::new)
}

impl fmt::Display for Caller {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process { uid, gid, pid: Some(pid) } => write!(formatter, "uid {uid}, gid {gid}, pid {pid}"),
            Self::Process { uid, gid, pid: None } => write!(formatter, "uid {uid}, gid {gid}"),
            Self::Certificate(identity) => identity.fmt(formatter),
            Self::Unauthenticated { address: Some(address) } => address.fmt(formatter),
            Self::Unauthenticated { address: None } => formatter.write_str("disconnected client"),
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.names.first().unwrap_or(&self.subject);
        write!(formatter, "{name} (sha256:{})", &self.fingerprint[..16])
    }
}
