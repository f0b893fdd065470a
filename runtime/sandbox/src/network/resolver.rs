//! [`Resolver`]: looks up the host names that guests ask for.

use std::fmt;
use std::io;
use std::net::{IpAddr, ToSocketAddrs as _};
use std::sync::Arc;

use tokio::sync::Semaphore;

/// How many lookups of all runs may be in progress at a time. A lookup of the system cannot be cancelled, and occupies a thread that guests
/// need for files.
const MAX_CONCURRENT_LOOKUPS: usize = 16;

/// Finds the addresses of hosts.
#[async_trait::async_trait]
pub trait Resolve: fmt::Debug + Send + Sync + 'static {
    /// Returns the addresses of `name`.
    ///
    /// # Errors
    /// The error of the resolver. Guests only learn that the name has no address.
    async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>>;
}

/// Looks up names. The default is the resolver of the system. Clones are the same resolver.
#[derive(Clone, Debug)]
pub struct Resolver(pub(super) Arc<dyn Resolve>);

impl Resolver {
    /// Creates a resolver that looks names up with `resolve`.
    pub fn new(resolve: impl Resolve) -> Self {
        Self(Arc::new(resolve))
    }

    /// Returns the addresses of `name`.
    ///
    /// # Errors
    /// The error of the resolver.
    pub async fn lookup(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        self.0.resolve(name).await
    }
}

impl Default for Resolver {
    fn default() -> Self {
        Self::new(SystemResolver(Arc::new(Semaphore::new(MAX_CONCURRENT_LOOKUPS))))
    }
}

/// The resolver of the system, which reads `/etc/hosts` and queries name servers.
#[derive(Debug)]
struct SystemResolver(Arc<Semaphore>);

#[async_trait::async_trait]
impl Resolve for SystemResolver {
    async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        let permit = self.0.clone().acquire_owned().await.expect("the semaphore is never closed");
        let name = name.to_owned();
        let lookup = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            (name.as_str(), 0).to_socket_addrs().map(|addresses| addresses.map(|address| address.ip()).collect())
        });
        lookup.await.map_err(io::Error::other)?
    }
}
