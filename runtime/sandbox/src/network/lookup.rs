//! [`Lookup`]: one lookup of a name for a guest.

use std::future::poll_fn;
use std::net::{IpAddr, Ipv6Addr};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use capstan_core::policy::Name;
use wasmtime_wasi::p2::Pollable;
use wasmtime_wasi::p2::bindings::sockets::network::ErrorCode;

use super::Network;

/// How many addresses of one name a guest gets.
pub(super) const MAX_ADDRESSES: usize = 64;

/// The addresses that a guest has requested.
pub(super) struct Lookup(State);

enum State {
    Pending(Pin<Box<dyn Future<Output = Addresses> + Send>>),
    Finished(Addresses),
}

type Addresses = Result<std::vec::IntoIter<IpAddr>, ErrorCode>;

impl Lookup {
    /// Starts to look up `text`, which is a name or an IP address. The policy must have a rule for it.
    ///
    /// # Errors
    /// The error code for the guest.
    pub(super) fn new(network: &Network, text: &str) -> Result<Self, ErrorCode> {
        if let Some(address) = parse_address(text) {
            let is_allowed = network.may_use_address(address);
            let addresses = is_allowed.then(|| vec![address].into_iter()).ok_or(ErrorCode::AccessDenied)?;
            return Ok(Self(State::Finished(Ok(addresses))));
        }
        let name: Name = text.parse().map_err(|_| ErrorCode::InvalidArgument)?;
        if !network.may_look_up(&name) {
            return Err(ErrorCode::AccessDenied);
        }
        let network = network.clone();
        Ok(Self(State::Pending(Box::pin(async move {
            let addresses = network.0.resolver.0.resolve(name.as_str()).await;
            let mut addresses = addresses.map_err(|_| ErrorCode::NameUnresolvable)?;
            addresses.truncate(MAX_ADDRESSES);
            addresses.iter_mut().for_each(|address| *address = address.to_canonical());
            network.remember(&name, &addresses);
            Ok(addresses.into_iter())
        }))))
    }

    /// Returns the next address, or `None` after the last one.
    ///
    /// # Errors
    /// [`ErrorCode::WouldBlock`] if the lookup is in progress, or the error of the lookup.
    pub(super) fn next(&mut self) -> Result<Option<IpAddr>, ErrorCode> {
        match self.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(addresses)) => Ok(addresses.next()),
            Poll::Ready(Err(error)) => Err(*error),
            Poll::Pending => Err(ErrorCode::WouldBlock),
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<&mut Addresses> {
        if let State::Pending(lookup) = &mut self.0 {
            let addresses = std::task::ready!(lookup.as_mut().poll(cx));
            self.0 = State::Finished(addresses);
        }
        match &mut self.0 {
            State::Finished(addresses) => Poll::Ready(addresses),
            State::Pending(_) => unreachable!("it was set to finished above"),
        }
    }
}

#[async_trait::async_trait]
impl Pollable for Lookup {
    async fn ready(&mut self) {
        poll_fn(|cx| self.poll(cx).map(drop)).await;
    }
}

/// Parses an IP address that is given in place of a name. IPv6 addresses may be in brackets.
fn parse_address(text: &str) -> Option<IpAddr> {
    let bracketed = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    match bracketed {
        Some(text) => text.parse::<Ipv6Addr>().ok().map(IpAddr::from),
        None => text.parse().ok(),
    }
    .map(|address: IpAddr| address.to_canonical())
}
