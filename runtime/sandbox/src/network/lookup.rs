//! Names and what they resolve to.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, Ipv6Addr, ToSocketAddrs as _};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use capstan_core::policy::Name;
use tokio::sync::Semaphore;
use wasmtime_wasi::p2::Pollable;
use wasmtime_wasi::p2::bindings::sockets::network::ErrorCode;

use super::Network;

/// Look-ups of all runs that may go on at a time. The system's cannot be given up, and each holds a thread that guests need for files.
const AT_A_TIME: usize = 16;
/// Addresses of one name that are heeded.
const MOST_ADDRESSES: usize = 64;

/// Finds the addresses of hosts.
#[async_trait::async_trait]
pub trait Resolve: fmt::Debug + Send + Sync + 'static {
    /// The addresses of `name`.
    ///
    /// # Errors
    /// What the resolver says; guests learn no more than that there is no address.
    async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>>;
}

/// What guests' names are looked up with; by default the system's resolver.
#[derive(Clone, Debug)]
pub struct Resolver(Arc<dyn Resolve>);

impl Resolver {
    /// Looks names up with `resolve`.
    pub fn new(resolve: impl Resolve) -> Self {
        Self(Arc::new(resolve))
    }
}

impl Default for Resolver {
    fn default() -> Self {
        Self::new(System(Arc::new(Semaphore::new(AT_A_TIME))))
    }
}

/// The system's resolver, which reads `/etc/hosts` and asks name servers.
#[derive(Debug)]
struct System(Arc<Semaphore>);

#[async_trait::async_trait]
impl Resolve for System {
    async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        let turn = self.0.clone().acquire_owned().await.expect("the semaphore is never closed");
        let name = name.to_owned();
        let asked = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            (name.as_str(), 0).to_socket_addrs().map(|found| found.map(|address| address.ip()).collect())
        });
        asked.await.map_err(io::Error::other)?
    }
}

/// Addresses on their way to a guest.
pub(super) struct Lookup(State);

enum State {
    PolicyRequest(Pin<Box<dyn Future<Output = Found> + Send>>),
    Answered(Found),
}

type Found = Result<std::vec::IntoIter<IpAddr>, ErrorCode>;

impl Lookup {
    /// Looks `text` up: a name that a rule names, or an address that a rule is about.
    ///
    /// # Errors
    /// What the guest is told where that is neither.
    pub(super) fn new(network: &Network, text: &str) -> Result<Self, ErrorCode> {
        if let Some(address) = address(text) {
            let granted = network.addresses(address);
            let found = granted.then(|| vec![address].into_iter()).ok_or(ErrorCode::AccessDenied)?;
            return Ok(Self(State::Answered(Ok(found))));
        }
        let name: Name = text.parse().map_err(|_| ErrorCode::InvalidArgument)?;
        if !network.names(&name) {
            return Err(ErrorCode::AccessDenied);
        }
        let network = network.clone();
        Ok(Self(State::PolicyRequest(Box::pin(async move {
            let found = network.0.resolver.0.resolve(name.as_str()).await;
            let mut found = found.map_err(|_| ErrorCode::NameUnresolvable)?;
            found.truncate(MOST_ADDRESSES);
            found.iter_mut().for_each(|address| *address = address.to_canonical());
            network.remember(&name, &found);
            Ok(found.into_iter())
        }))))
    }

    /// The next address; `None` after the last.
    ///
    /// # Errors
    /// That there is no answer yet, or that it was none.
    pub(super) fn next(&mut self) -> Result<Option<IpAddr>, ErrorCode> {
        match self.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(found)) => Ok(found.next()),
            Poll::Ready(Err(error)) => Err(*error),
            Poll::Pending => Err(ErrorCode::WouldBlock),
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<&mut Found> {
        if let State::PolicyRequest(asked) = &mut self.0 {
            let found = std::task::ready!(asked.as_mut().poll(cx));
            self.0 = State::Answered(found);
        }
        match &mut self.0 {
            State::Answered(found) => Poll::Ready(found),
            State::PolicyRequest(_) => unreachable!("it has just been answered"),
        }
    }
}

#[async_trait::async_trait]
impl Pollable for Lookup {
    async fn ready(&mut self) {
        poll_fn(|cx| self.poll(cx).map(drop)).await;
    }
}

/// An address that stands where a name could.
fn address(text: &str) -> Option<IpAddr> {
    let bracketed = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    match bracketed {
        Some(text) => text.parse::<Ipv6Addr>().ok().map(IpAddr::from),
        None => text.parse().ok(),
    }
    .map(|address: IpAddr| address.to_canonical())
}
