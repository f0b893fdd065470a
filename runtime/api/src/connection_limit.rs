//! `ConnectionLimit`: how many TCP connections each address may have.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard};

/// Counts the connections of each address.
#[derive(Debug)]
pub(super) struct ConnectionLimit {
    limit: usize,
    counts: Mutex<HashMap<IpAddr, usize>>,
}

/// Counts one connection of an address until it is dropped.
#[derive(Debug)]
pub(super) struct ConnectionPermit {
    limit: Arc<ConnectionLimit>,
    address: IpAddr,
}

/// The address already has as many connections as it may have.
#[derive(Debug)]
pub(super) struct LimitReached;

impl ConnectionLimit {
    /// Allows `limit` connections from each address.
    pub(super) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, counts: Mutex::default() })
    }

    /// Counts a connection from `address`.
    ///
    /// # Errors
    /// [`LimitReached`]
    pub(super) fn acquire(self: &Arc<Self>, address: IpAddr) -> Result<ConnectionPermit, LimitReached> {
        let address = machine_address(address);
        let mut counts = self.counts();
        let count = counts.entry(address).or_default();
        if *count >= self.limit {
            return Err(LimitReached);
        }
        *count += 1;
        Ok(ConnectionPermit { limit: self.clone(), address })
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.counts.lock().expect("no panic while the lock is held")
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        let mut counts = self.limit.counts();
        if let Some(count) = counts.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
}

/// Returns the address that is counted: over IPv6 the network, because each machine has a network of 64 bits to itself.
fn machine_address(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acquire_counts_each_address_until_permit_is_dropped() {
        let limit = ConnectionLimit::new(2);
        let acquire = |address: &str| limit.acquire(address.parse().unwrap());
        let first = acquire("10.0.0.1").unwrap();
        let second = acquire("::ffff:10.0.0.1").unwrap();
        assert!(acquire("10.0.0.1").is_err(), "an IPv4 address written as IPv6 is the same");
        let other_address = acquire("10.0.0.2").unwrap();
        drop(first);
        let third = acquire("10.0.0.1").unwrap();
        drop((second, other_address, third));
        assert!(limit.counts().is_empty(), "an address without connections needs no memory");
    }

    #[test]
    fn acquire_counts_ipv6_network_as_one_address() {
        let limit = ConnectionLimit::new(1);
        let acquire = |address: &str| limit.acquire(address.parse().unwrap());
        let _permit = acquire("2001:db8:0:1::1").unwrap();
        assert!(acquire("2001:db8:0:1:ffff::2").is_err());
        assert!(acquire("2001:db8:0:2::1").is_ok());
    }
}
