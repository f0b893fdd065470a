//! [`connect`]: opens a connection to an address that the policy of the run allows.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use capstan_core::http::Scheme;
use capstan_core::policy::HttpHost;
use tokio::net::TcpStream;
use wasmtime_wasi_http::Error;

use super::connection::Connection;
use super::route::Route;
use super::tls::TrustedRoots;
use crate::network::{Meter, MeterSlot, MeteredStream};

/// Opens a connection to the origin of `route`: looks the name up, and connects to the first address that the run may use and that answers. No
/// other lookup comes between the check and the connection.
///
/// # Errors
/// The error for the guest.
pub(super) async fn connect(route: &Route, roots: &TrustedRoots) -> Result<Connection, Error> {
    let Route { origin, reach, network, .. } = route;
    let addresses = match &origin.host {
        HttpHost::Address(address) => vec![*address],
        HttpHost::Name(name) => network.resolve(name).await.map_err(|_| name_error())?,
    };
    if addresses.is_empty() {
        return Err(name_error());
    }
    let addresses = addresses.into_iter().map(|address: IpAddr| SocketAddr::new(address, origin.port));
    let allowed: Vec<_> = addresses.filter(|address| network.may_connect(reach, &origin.host, *address)).collect();
    let mut failure = Error::DestinationIpProhibited;
    for address in allowed {
        let Some(peer) = network.count_connection(&origin.host, origin.port) else {
            return Err(Error::ConnectionLimitReached);
        };
        match TcpStream::connect(address).await {
            Ok(stream) => {
                // Without it, small requests wait for the acknowledgement of those before them.
                let _ = stream.set_nodelay(true);
                let slot = Arc::new(MeterSlot::new(Meter { network: network.clone(), peer }));
                let stream = MeteredStream { stream, slot: slot.clone() };
                return match origin.scheme {
                    Scheme::Http => Connection::http1(stream, slot, address).await,
                    Scheme::Https => match roots.handshake(&origin.host, stream).await? {
                        (stream, true) => Connection::http2(stream, slot, address).await,
                        (stream, false) => Connection::http1(stream, slot, address).await,
                    },
                };
            }
            Err(error) => failure = connect_error(&error),
        }
    }
    Err(failure)
}

fn name_error() -> Error {
    Error::DnsError { rcode: Some("the name has no address".to_owned()), info_code: None }
}

fn connect_error(error: &io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Error::ConnectionRefused,
        io::ErrorKind::TimedOut => Error::ConnectionTimeout,
        io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable => Error::DestinationIpUnroutable,
        _ => Error::DestinationUnavailable,
    }
}
