//! The functions of `wasi:sockets` that stand in front of the library's own: where names are looked up and where bytes pass.

use std::mem;
use std::net::SocketAddr;

use capstan_core::policy::Protocol;
use wasmtime::component::{Linker, LinkerInstance, Resource, ResourceType};
use wasmtime::{Result, StoreContextMut};
use wasmtime_wasi::p2::bindings::sockets::network::{
    ErrorCode, IpAddress, IpAddressFamily, IpSocketAddress, Network as Grant,
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

use super::super::open_files;
use super::lookup::Lookup;
use super::meter::{Incoming, Outgoing};
use super::{Host, Network};

/// The version that the library defines; guests of older ones are linked to it.
const VERSION: &str = "@0.2.12";

/// What a function of these interfaces returns.
type Told<T> = Result<(Result<T, ErrorCode>,)>;

/// The functions whose place is taken.
const SHADOWED: [(&str, &str); 7] = [
    ("ip-name-lookup", "resolve-addresses"),
    ("tcp-create-socket", "create-tcp-socket"),
    ("udp-create-socket", "create-udp-socket"),
    ("tcp", "[method]tcp-socket.finish-connect"),
    ("udp", "[method]udp-socket.stream"),
    ("udp", "[method]outgoing-datagram-stream.send"),
    ("udp", "[method]incoming-datagram-stream.receive"),
];

/// Takes the place of what the library has put into `linker`.
///
/// # Errors
/// That the library has nothing there: it is of another version, and guests would get what nobody counts.
pub(crate) fn shadow(linker: &mut Linker<Host>) -> Result<()> {
    for (interface, function) in SHADOWED {
        // What is there already cannot be defined once more.
        let is_missing = instance(linker, interface)?.func_wrap(function, |_, (): ()| Ok(())).is_ok();
        wasmtime::ensure!(!is_missing, "wasi:sockets/{interface}{VERSION} has no {function} to take the place of");
    }
    linker.allow_shadowing(true);
    names(linker)?;
    sockets(linker)?;
    tcp(linker)?;
    udp(linker)?;
    linker.allow_shadowing(false);
    Ok(())
}

fn instance<'a>(linker: &'a mut Linker<Host>, interface: &str) -> Result<LinkerInstance<'a, Host>> {
    linker.instance(&format!("wasi:sockets/{interface}{VERSION}"))
}

fn names(linker: &mut Linker<Host>) -> Result<()> {
    let mut names = instance(linker, "ip-name-lookup")?;
    let lookup = ResourceType::host::<Lookup>();
    names.resource("resolve-address-stream", lookup, |mut store, rep| {
        store.data_mut().sockets().table.delete(Resource::<Lookup>::new_own(rep))?;
        Ok(())
    })?;
    names.func_wrap(
        "resolve-addresses",
        |mut store: StoreContextMut<'_, Host>, (_, name): (Resource<Grant>, String)| {
            let host = store.data_mut();
            told(match Lookup::new(host.network()?, &name) {
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

fn sockets(linker: &mut Linker<Host>) -> Result<()> {
    instance(linker, "tcp-create-socket")?.func_wrap(
        "create-tcp-socket",
        |mut store, (family,): (IpAddressFamily,)| {
            told(may_be_made().and_then(|()| store.data_mut().sockets().create_tcp_socket(family)))
        },
    )?;
    instance(linker, "udp-create-socket")?.func_wrap_async(
        "create-udp-socket",
        |mut store, (family,): (IpAddressFamily,)| {
            Box::new(async move {
                if let Err(error) = may_be_made() {
                    return told(Err(error));
                }
                told(store.data_mut().sockets().create_udp_socket(family).await)
            })
        },
    )
}

/// A socket is an open file.
fn may_be_made() -> SocketResult<()> {
    if open_files::is_there_room() { Ok(()) } else { Err(ErrorCode::NewSocketLimit.into()) }
}

fn tcp(linker: &mut Linker<Host>) -> Result<()> {
    let mut tcp = instance(linker, "tcp")?;
    tcp.func_wrap("[method]tcp-socket.finish-connect", |mut store, (socket,): (Resource<TcpSocket>,)| {
        told(connected(store.data_mut(), &socket))
    })
}

/// The streams of a connection that has come about, each behind its meter.
fn connected(
    host: &mut Host,
    socket: &Resource<TcpSocket>,
) -> SocketResult<(Resource<DynInputStream>, Resource<DynOutputStream>)> {
    let network = host.network().map_err(SocketError::trap)?.clone();
    let mut sockets = host.sockets();
    let (input, output) = HostTcpSocket::finish_connect(&mut sockets, Resource::new_borrow(socket.rep()))?;
    let peer = SocketAddr::from(HostTcpSocket::remote_address(&mut sockets, Resource::new_borrow(socket.rep()))?);
    let contact = network.contact(Protocol::Tcp, peer).ok_or(ErrorCode::AccessDenied)?;
    let slot = sockets.table.get_mut(&input)?;
    let stream = mem::replace(slot, Box::new(ClosedInputStream));
    *slot = Box::new(Incoming { stream, network: network.clone(), contact: contact.clone() });
    let slot = sockets.table.get_mut(&output)?;
    let stream = mem::replace(slot, Box::new(ClosedOutputStream));
    *slot = Box::new(Outgoing { stream, network, contact });
    Ok((input, output))
}

fn udp(linker: &mut Linker<Host>) -> Result<()> {
    let mut udp = instance(linker, "udp")?;
    udp.func_wrap_async(
        "[method]udp-socket.stream",
        |mut store, (socket, peer): (Resource<UdpSocket>, Option<IpSocketAddress>)| {
            Box::new(async move {
                let host = store.data_mut();
                let streams = HostUdpSocket::stream(&mut host.sockets(), socket, peer).await;
                if let Ok((_, outgoing)) = &streams {
                    let connected = &mut host.network()?.lock().connected;
                    // The place may have been another stream's.
                    connected.remove(&outgoing.rep());
                    connected.extend(peer.map(|peer| (outgoing.rep(), SocketAddr::from(peer))));
                }
                told(streams)
            })
        },
    )?;
    udp.func_wrap(
        "[method]outgoing-datagram-stream.send",
        |mut store, (stream, datagrams): (Resource<OutgoingDatagramStream>, Vec<OutgoingDatagram>)| {
            told(send(store.data_mut(), stream, datagrams))
        },
    )?;
    udp.func_wrap(
        "[method]incoming-datagram-stream.receive",
        |mut store, (stream, most): (Resource<IncomingDatagramStream>, u64)| {
            told(receive(store.data_mut(), stream, most))
        },
    )
}

/// Sends as many of `datagrams` as fit under the cap, each whole.
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
    let fitting = fitting(&network, sizes.iter().map(|(_, size)| *size));
    if fitting == 0 && !datagrams.is_empty() {
        network.cap_traffic();
        return Err(ErrorCode::AccessDenied.into());
    }
    datagrams.truncate(fitting);
    let sent = host.sockets().send(stream, datagrams)?;
    for (peer, size) in sizes.into_iter().take(usize::try_from(sent).unwrap_or(usize::MAX)) {
        network.spend(size);
        if let Some(contact) = peer.and_then(|peer| network.contact(Protocol::Udp, peer)) {
            contact.sent.add(size as u64);
        }
    }
    Ok(sent)
}

/// Receives up to `most` datagrams; those over the cap are lost.
fn receive(
    host: &mut Host,
    stream: Resource<IncomingDatagramStream>,
    most: u64,
) -> SocketResult<Vec<IncomingDatagram>> {
    let network = host.network().map_err(SocketError::trap)?.clone();
    let mut datagrams = host.sockets().receive(stream, most)?;
    let fitting = fitting(&network, datagrams.iter().map(|datagram| datagram.data.len()));
    if fitting < datagrams.len() {
        network.cap_traffic();
        if fitting == 0 {
            return Err(ErrorCode::AccessDenied.into());
        }
        datagrams.truncate(fitting);
    }
    for IncomingDatagram { data, remote_address } in &datagrams {
        network.spend(data.len());
        if let Some(contact) = network.contact(Protocol::Udp, SocketAddr::from(*remote_address)) {
            contact.received.add(data.len() as u64);
        }
    }
    Ok(datagrams)
}

/// How many of datagrams of these sizes fit under the cap.
fn fitting(network: &Network, sizes: impl Iterator<Item = usize>) -> usize {
    let mut left = network.left();
    sizes.take_while(|size| left.checked_sub(*size).inspect(|rest| left = *rest).is_some()).count()
}

/// What the guest is told; a trap ends the run.
fn told<T>(result: SocketResult<T>) -> Told<T> {
    match result {
        Ok(value) => Ok((Ok(value),)),
        Err(error) => Ok((Err(error.downcast()?),)),
    }
}
