//! The functions of `wasi:sockets` that replace those of wasmtime-wasi: they look up names, create sockets and transfer bytes.

use std::mem;
use std::net::SocketAddr;

use capstan_core::policy::Protocol;
use wasmtime::component::{Linker, LinkerInstance, Resource, ResourceType, WasmList, WasmStr};
use wasmtime::{Result, StoreContextMut};
use wasmtime_wasi::p2::bindings::sockets::network::{
    ErrorCode, IpAddress, IpAddressFamily, IpSocketAddress, Network as NetworkResource,
};
use wasmtime_wasi::p2::bindings::sockets::tcp::HostTcpSocket;
use wasmtime_wasi::p2::bindings::sockets::tcp_create_socket::Host as _;
use wasmtime_wasi::p2::bindings::sockets::udp::{
    HostIncomingDatagramStream as _, HostOutgoingDatagramStream as _, HostUdpSocket, IncomingDatagram,
    IncomingDatagramStream, OutgoingDatagram, OutgoingDatagramStream,
};
use wasmtime_wasi::p2::bindings::sockets::udp_create_socket::Host as _;
use wasmtime_wasi::p2::pipe::{ClosedInputStream, ClosedOutputStream};
use wasmtime_wasi::p2::{
    DynInputStream, DynOutputStream, DynPollable, SocketError, SocketResult, TcpSocket, UdpSocket, subscribe,
};
use wasmtime_wasi::sockets::WasiSocketsView as _;

use super::Network;
use super::lookup::Lookup;
use super::meter::{MeteredInput, MeteredOutput};
use crate::handles;
use crate::host::Host;
use crate::lists::to_guest;
use crate::open_files;

/// The version that wasmtime-wasi defines. Guests that were built for older ones are linked to it.
const VERSION: &str = "@0.2.12";

/// Bytes of the longest host name.
const MAX_NAME: usize = 255;
/// Bytes of the largest datagram, and the most datagrams that one call sends.
const MAX_DATAGRAM: usize = 65_507;
const MAX_DATAGRAMS: usize = 64;

/// The functions that are replaced.
const SHADOWED: [(&str, &str); 7] = [
    ("ip-name-lookup", "resolve-addresses"),
    ("tcp-create-socket", "create-tcp-socket"),
    ("udp-create-socket", "create-udp-socket"),
    ("tcp", "[method]tcp-socket.finish-connect"),
    ("udp", "[method]udp-socket.stream"),
    ("udp", "[method]outgoing-datagram-stream.send"),
    ("udp", "[method]incoming-datagram-stream.receive"),
];

/// Replaces functions that wasmtime-wasi has added to `linker`.
///
/// # Errors
/// If one of them is not there. Then wasmtime-wasi has another version, and guests would get functions that count nothing.
pub(crate) fn shadow_sockets(linker: &mut Linker<Host>) -> Result<()> {
    for (interface, function) in SHADOWED {
        // Defining a function fails if it exists.
        let is_missing = instance(linker, interface)?.func_wrap(function, |_, (): ()| Ok(())).is_ok();
        wasmtime::ensure!(!is_missing, "wasi:sockets/{interface}{VERSION} has no {function} to replace");
    }
    linker.allow_shadowing(true);
    shadow_lookup(linker)?;
    shadow_creation(linker)?;
    shadow_tcp(linker)?;
    shadow_udp(linker)?;
    linker.allow_shadowing(false);
    Ok(())
}

fn instance<'a>(linker: &'a mut Linker<Host>, interface: &str) -> Result<LinkerInstance<'a, Host>> {
    linker.instance(&format!("wasi:sockets/{interface}{VERSION}"))
}

fn shadow_lookup(linker: &mut Linker<Host>) -> Result<()> {
    let mut names = instance(linker, "ip-name-lookup")?;
    let lookup = ResourceType::host::<Lookup>();
    names.resource("resolve-address-stream", lookup, |mut store, rep| {
        store.data_mut().sockets().table.delete(Resource::<Lookup>::new_own(rep))?;
        Ok(())
    })?;
    names.func_wrap(
        "resolve-addresses",
        |mut store: StoreContextMut<'_, Host>, (_, name): (Resource<NetworkResource>, WasmStr)| {
            let name = name.to_str(&store)?;
            if name.len() > MAX_NAME {
                return to_guest(Err(ErrorCode::InvalidArgument.into()));
            }
            let name = name.into_owned();
            let host = store.data_mut();
            to_guest(match Lookup::new(host.network()?, &name) {
                Ok(lookup) => Ok(host.sockets().table.push(lookup)?),
                Err(error) => Err(error.into()),
            })
        },
    )?;
    names.func_wrap(
        "[method]resolve-address-stream.resolve-next-address",
        |mut store, (lookup,): (Resource<Lookup>,)| {
            let next = store.data_mut().sockets().table.get_mut(&lookup)?.next();
            Ok((next.map(|address| address.map(IpAddress::from)),))
        },
    )?;
    names.func_wrap("[method]resolve-address-stream.subscribe", |mut store, (lookup,): (Resource<Lookup>,)| {
        let pollable: Resource<DynPollable> = subscribe(store.data_mut().sockets().table, lookup)?;
        Ok((pollable,))
    })
}

fn shadow_creation(linker: &mut Linker<Host>) -> Result<()> {
    instance(linker, "tcp-create-socket")?.func_wrap(
        "create-tcp-socket",
        |mut store, (family,): (IpAddressFamily,)| {
            let host = store.data_mut();
            to_guest(check_descriptors(host).and_then(|()| host.sockets().create_tcp_socket(family)))
        },
    )?;
    instance(linker, "udp-create-socket")?.func_wrap_async(
        "create-udp-socket",
        |mut store, (family,): (IpAddressFamily,)| {
            Box::new(async move {
                if let Err(error) = check_descriptors(store.data_mut()) {
                    return to_guest(Err(error));
                }
                to_guest(store.data_mut().sockets().create_udp_socket(family).await)
            })
        },
    )
}

/// Returns an error if the process has no descriptor for another socket, or the guest no handle.
fn check_descriptors(host: &mut Host) -> SocketResult<()> {
    let has_handle = handles::next(host.sockets().table).is_some();
    if has_handle && open_files::may_open_another() { Ok(()) } else { Err(ErrorCode::NewSocketLimit.into()) }
}

fn shadow_tcp(linker: &mut Linker<Host>) -> Result<()> {
    let mut tcp = instance(linker, "tcp")?;
    tcp.func_wrap("[method]tcp-socket.finish-connect", |mut store, (socket,): (Resource<TcpSocket>,)| {
        to_guest(finish_connect(store.data_mut(), &socket))
    })
}

/// Returns the streams of a new connection, which are metered.
fn finish_connect(
    host: &mut Host,
    socket: &Resource<TcpSocket>,
) -> SocketResult<(Resource<DynInputStream>, Resource<DynOutputStream>)> {
    check_descriptors(host)?;
    let network = host.network().map_err(SocketError::trap)?.clone();
    let mut sockets = host.sockets();
    let (input, output) = HostTcpSocket::finish_connect(&mut sockets, Resource::new_borrow(socket.rep()))?;
    let peer = SocketAddr::from(HostTcpSocket::remote_address(&mut sockets, Resource::new_borrow(socket.rep()))?);
    let peer = network.peer(Protocol::Tcp, peer).ok_or(ErrorCode::AccessDenied)?;
    let slot = sockets.table.get_mut(&input)?;
    let stream = mem::replace(slot, Box::new(ClosedInputStream));
    *slot = Box::new(MeteredInput { stream, network: network.clone(), peer: peer.clone() });
    let slot = sockets.table.get_mut(&output)?;
    let stream = mem::replace(slot, Box::new(ClosedOutputStream));
    *slot = Box::new(MeteredOutput { stream, network, peer });
    Ok((input, output))
}

fn shadow_udp(linker: &mut Linker<Host>) -> Result<()> {
    let mut udp = instance(linker, "udp")?;
    udp.func_wrap_async(
        "[method]udp-socket.stream",
        |mut store, (socket, peer): (Resource<UdpSocket>, Option<IpSocketAddress>)| {
            Box::new(async move {
                let host = store.data_mut();
                if let Err(error) = check_descriptors(host) {
                    return to_guest(Err(error));
                }
                let streams = HostUdpSocket::stream(&mut host.sockets(), socket, peer).await;
                if let Ok((_, outgoing)) = &streams {
                    let connected = &mut host.network()?.lock().connected;
                    // The number may have belonged to another stream before.
                    connected.remove(&outgoing.rep());
                    connected.extend(peer.map(|peer| (outgoing.rep(), SocketAddr::from(peer))));
                }
                to_guest(streams)
            })
        },
    )?;
    udp.func_wrap(
        "[method]outgoing-datagram-stream.send",
        |mut store: StoreContextMut<'_, Host>,
         (stream, listed): (Resource<OutgoingDatagramStream>, WasmList<OutgoingDatagram>)| {
            let mut datagrams = Vec::new();
            for datagram in listed.iter(&mut store)?.take(MAX_DATAGRAMS) {
                let datagram = datagram?;
                if datagram.data.len() > MAX_DATAGRAM {
                    return to_guest(Err(ErrorCode::DatagramTooLarge.into()));
                }
                datagrams.push(datagram);
            }
            to_guest(send(store.data_mut(), stream, datagrams))
        },
    )?;
    udp.func_wrap(
        "[method]incoming-datagram-stream.receive",
        |mut store, (stream, max): (Resource<IncomingDatagramStream>, u64)| {
            to_guest(receive(store.data_mut(), stream, max))
        },
    )
}

/// Sends as many whole `datagrams` as the cap on traffic allows. Returns their number.
fn send(
    host: &mut Host,
    stream: Resource<OutgoingDatagramStream>,
    mut datagrams: Vec<OutgoingDatagram>,
) -> SocketResult<u64> {
    let network = host.network().map_err(SocketError::trap)?.clone();
    let connected = network.lock().connected.get(&stream.rep()).copied();
    let sizes: Vec<_> = datagrams
        .iter()
        .map(|datagram| (datagram.remote_address.map(SocketAddr::from).or(connected), datagram.data.len()))
        .collect();
    let allowed = count_allowed(&network, sizes.iter().map(|(_, size)| *size));
    if allowed == 0 && !datagrams.is_empty() {
        network.record_traffic_exceeded();
        return Err(ErrorCode::AccessDenied.into());
    }
    datagrams.truncate(allowed);
    let sent = host.sockets().send(stream, datagrams)?;
    for (peer, size) in sizes.into_iter().take(usize::try_from(sent).unwrap_or(usize::MAX)) {
        network.consume(size);
        if let Some(peer) = peer.and_then(|peer| network.peer(Protocol::Udp, peer)) {
            peer.sent.add(size as u64);
        }
    }
    Ok(sent)
}

/// Receives up to `max` datagrams. Those beyond the cap on traffic are lost.
fn receive(host: &mut Host, stream: Resource<IncomingDatagramStream>, max: u64) -> SocketResult<Vec<IncomingDatagram>> {
    let network = host.network().map_err(SocketError::trap)?.clone();
    let mut datagrams = host.sockets().receive(stream, max)?;
    let allowed = count_allowed(&network, datagrams.iter().map(|datagram| datagram.data.len()));
    if allowed < datagrams.len() {
        network.record_traffic_exceeded();
        if allowed == 0 {
            return Err(ErrorCode::AccessDenied.into());
        }
        datagrams.truncate(allowed);
    }
    for IncomingDatagram { data, remote_address } in &datagrams {
        network.consume(data.len());
        if let Some(peer) = network.peer(Protocol::Udp, SocketAddr::from(*remote_address)) {
            peer.received.add(data.len() as u64);
        }
    }
    Ok(datagrams)
}

/// Returns how many of the datagrams of these sizes the cap on traffic allows.
fn count_allowed(network: &Network, sizes: impl Iterator<Item = usize>) -> usize {
    let mut remaining = network.remaining();
    sizes.take_while(|size| remaining.checked_sub(*size).inspect(|rest| remaining = *rest).is_some()).count()
}
