//! `Reach`: what of the network one run may reach.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use super::name::Name;
use super::special::special;
use super::{Protocol, Rule};

/// What of the network one run may reach.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    rules: Vec<Rule>,
    /// Ports that the daemon itself listens on.
    own: Vec<u16>,
    /// Which of those at which addresses the operator grants, by a rule for each.
    granted: Vec<SocketAddr>,
}

/// Why an address is out of reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum DenialReason {
    #[error("no rule grants it")]
    NoRule,
    #[error("{0} addresses need a rule that names them by address")]
    Special(&'static str),
    #[error("the daemon listens there, which needs a rule of the operator's for this address and this port")]
    Own,
}

impl Reach {
    /// What `rules` reach, without the daemon's ports `own` but where one of `of_operator` names one with its address.
    pub(super) fn new(rules: Vec<Rule>, own: &[u16], of_operator: &[Rule]) -> Self {
        let exactly = |rule: &Rule| {
            let address = SocketAddr::new(rule.host.single()?, rule.ports.single()?);
            (rule.protocol == Protocol::Tcp && own.contains(&address.port())).then_some(address)
        };
        Self { rules, own: own.to_vec(), granted: of_operator.iter().filter_map(exactly).collect() }
    }

    /// Whether `name` may be looked up.
    pub fn names(&self, name: &Name) -> bool {
        self.rules.iter().any(|rule| rule.host.names(name))
    }

    /// Whether a rule is about `address`, on whatever port.
    pub fn addresses(&self, address: IpAddr) -> bool {
        self.rules.iter().any(|rule| rule.host.addresses(address))
    }

    /// Whether `address` may be spoken to, where the run has got it for one of `names`; gives that name, unless it is granted by
    /// itself. `is_here` tells whether an address is one of this machine's.
    ///
    /// # Errors
    /// [`DenialReason`] not.
    pub fn allows<'a>(
        &self,
        protocol: Protocol,
        address: SocketAddr,
        names: &'a [Name],
        is_here: impl Fn(IpAddr) -> bool,
    ) -> Result<Option<&'a Name>, DenialReason> {
        let ip = address.ip().to_canonical();
        let fitting =
            || self.rules.iter().filter(|rule| rule.protocol == protocol && rule.ports.contains(address.port()));
        let name = if fitting().any(|rule| rule.host.addresses(ip)) {
            None
        } else {
            let name = names.iter().find(|name| fitting().any(|rule| rule.host.names(name)));
            if name.is_none() && !fitting().any(|rule| rule.host.covers(ip)) {
                return Err(DenialReason::NoRule);
            }
            if let Some((_, range)) = special(IpNet::from(ip)) {
                return Err(DenialReason::Special(range));
            }
            name
        };
        let is_own = protocol == Protocol::Tcp && self.own.contains(&address.port());
        if is_own && !self.granted.contains(&SocketAddr::new(ip, address.port())) && is_here(ip) {
            return Err(DenialReason::Own);
        }
        Ok(name)
    }
}
