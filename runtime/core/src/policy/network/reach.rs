//! [`Reach`]: the part of the network that one run may reach.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use super::name::Name;
use super::rule::{Protocol, Rule};
use super::special_range::special_range;

/// The part of the network that one run may reach.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    rules: Vec<Rule>,
    /// TCP ports on which the daemon listens.
    daemon_ports: Vec<u16>,
    /// Addresses with a port of the daemon that the operator grants, each with a rule for exactly this address and port.
    granted_daemon_addresses: Vec<SocketAddr>,
}

/// The reason why an address cannot be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum DenialReason {
    #[error("no rule grants it")]
    NoRule,
    #[error("{0} addresses need a rule that names them by address")]
    Special(&'static str),
    #[error("the daemon listens there, so the operator must grant exactly this address and port")]
    DaemonPort,
}

impl Reach {
    /// Creates the reach of `rules`. They do not include the ports of the daemon, unless a rule of the operator names an address and such a
    /// port.
    pub(in crate::policy) fn new(rules: Vec<Rule>, daemon_ports: &[u16], operator_rules: &[Rule]) -> Self {
        let exact_address = |rule: &Rule| {
            let address = SocketAddr::new(rule.host.single()?, rule.ports.single()?);
            (rule.protocol == Protocol::Tcp && daemon_ports.contains(&address.port())).then_some(address)
        };
        Self {
            rules,
            daemon_ports: daemon_ports.to_vec(),
            granted_daemon_addresses: operator_rules.iter().filter_map(exact_address).collect(),
        }
    }

    /// Returns whether the run may look up `name`.
    pub fn allows_lookup(&self, name: &Name) -> bool {
        self.rules.iter().any(|rule| rule.host.matches_name(name))
    }

    /// Returns whether a rule includes `address`, on any port.
    pub fn has_rule_for(&self, address: IpAddr) -> bool {
        self.rules.iter().any(|rule| rule.host.matches_address(address))
    }

    /// Checks whether the run may exchange data with `address`. `names` are the names that it has resolved to this address. `is_local`
    /// returns whether an address belongs to this machine.
    ///
    /// Returns the name whose rule allows the address, or `None` if a rule for the address itself does.
    ///
    /// # Errors
    /// [`DenialReason`] if no rule allows it.
    pub fn allows<'a>(
        &self,
        protocol: Protocol,
        address: SocketAddr,
        names: &'a [Name],
        is_local: impl Fn(IpAddr) -> bool,
    ) -> Result<Option<&'a Name>, DenialReason> {
        let ip = address.ip().to_canonical();
        let matching =
            || self.rules.iter().filter(|rule| rule.protocol == protocol && rule.ports.contains(address.port()));
        let name = if matching().any(|rule| rule.host.matches_address(ip)) {
            None
        } else {
            let name = names.iter().find(|name| matching().any(|rule| rule.host.matches_name(name)));
            if name.is_none() && !matching().any(|rule| rule.host.contains_address(ip)) {
                return Err(DenialReason::NoRule);
            }
            if let Some((_, range)) = special_range(IpNet::from(ip)) {
                return Err(DenialReason::Special(range));
            }
            name
        };
        let is_daemon_port = protocol == Protocol::Tcp && self.daemon_ports.contains(&address.port());
        if is_daemon_port
            && !self.granted_daemon_addresses.contains(&SocketAddr::new(ip, address.port()))
            && is_local(ip)
        {
            return Err(DenialReason::DaemonPort);
        }
        Ok(name)
    }
}
