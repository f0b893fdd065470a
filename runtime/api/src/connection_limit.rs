//! `Peers`: how many connections each address has over TCP.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard};

/// Counts the connections of each address.
#[derive(Debug)]
pub(super) struct Peers {
    most: usize,
    counts: Mutex<HashMap<IpAddr, usize>>,
}

/// The place of a connection among those of its address; dropping it gives it back.
#[derive(Debug)]
pub(super) struct Place {
    peers: Arc<Peers>,
    address: IpAddr,
}

/// An address has all the connections that it may have.
#[derive(Debug)]
pub(super) struct Full;

impl Peers {
    /// With `most` places for each.
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, counts: Mutex::default() })
    }

    /// Takes a place for a connection from `address`.
    ///
    /// # Errors
    /// [`Full`]
    pub(super) fn place(self: &Arc<Self>, address: IpAddr) -> Result<Place, Full> {
        let address = machine(address);
        let mut counts = self.counts();
        let count = counts.entry(address).or_default();
        if *count >= self.most {
            return Err(Full);
        }
        *count += 1;
        Ok(Place { peers: self.clone(), address })
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.counts.lock().expect("no panic while the lock is held")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.peers.counts();
        if let Some(count) = counts.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
}

/// What stands for the machine that has this address: over IPv6 each has a network of 64 bits to itself.
fn machine(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_has_its_places_and_gives_them_back() {
        let peers = Peers::new(2);
        let place = |address: &str| peers.place(address.parse().unwrap());
        let one = place("10.0.0.1").unwrap();
        let other = place("::ffff:10.0.0.1").unwrap();
        assert!(place("10.0.0.1").is_err(), "written as IPv6 it is the same");
        let elsewhere = place("10.0.0.2").unwrap();
        drop(one);
        let again = place("10.0.0.1").unwrap();
        drop((other, elsewhere, again));
        assert!(peers.counts().is_empty(), "who has no connection takes no memory");
    }

    #[test]
    fn a_machine_has_a_network_of_addresses() {
        let peers = Peers::new(1);
        let place = |address: &str| peers.place(address.parse().unwrap());
        let _one = place("2001:db8:0:1::1").unwrap();
        assert!(place("2001:db8:0:1:ffff::2").is_err());
        assert!(place("2001:db8:0:2::1").is_ok());
    }
}
