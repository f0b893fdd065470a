//! `Host`: whom a rule is about.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::name::Name;
use super::special::special;

/// Whom a rule is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// The addresses that a resolver gives for this name.
    Named(Name),
    /// Those of any name below this one.
    Below(Name),
    /// Those of any name at all.
    AnyName,
    /// These addresses.
    Network(IpNet),
}

impl Host {
    /// Whether it is about what `name` resolves to.
    pub fn names(&self, name: &Name) -> bool {
        match self {
            Self::Named(own) => name == own,
            Self::Below(own) => name.is_below(own),
            Self::AnyName => true,
            Self::Network(_) => false,
        }
    }

    /// Whether it is about `address`, by its own; a network that has something special among others is not about that.
    pub fn addresses(&self, address: IpAddr) -> bool {
        self.is_about(IpNet::from(address))
    }

    /// Whether its network has `address`, be that special or not.
    pub fn covers(&self, address: IpAddr) -> bool {
        matches!(self, Self::Network(own) if own.contains(&address))
    }

    pub(super) fn is_within(&self, other: &Self) -> bool {
        match self {
            Self::Named(name) => other.names(name),
            Self::Below(name) => match other {
                Self::Below(own) => name == own || name.is_below(own),
                Self::AnyName => true,
                Self::Named(_) | Self::Network(_) => false,
            },
            Self::AnyName => *other == Self::AnyName,
            Self::Network(network) => other.is_about(*network),
        }
    }

    fn is_about(&self, network: IpNet) -> bool {
        let Self::Network(own) = self else { return false };
        own.contains(&network) && special(network).is_none_or(|range| special(*own) == Some(range))
    }

    /// The address, where it is only one.
    pub fn single(&self) -> Option<IpAddr> {
        match self {
            Self::Network(network) if network.prefix_len() == network.max_prefix_len() => Some(network.addr()),
            _ => None,
        }
    }
}

impl FromStr for Host {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(rest) = text.strip_prefix('[') {
            let (address, bits) = rest.split_once(']').ok_or("the bracket is not closed")?;
            let address: Ipv6Addr =
                address.parse().map_err(|_| format!("what stands in brackets, {address:?}, is no IPv6 address"))?;
            if address.to_ipv4_mapped().is_some() {
                return Err("this is an IPv4 address, and written as such".to_owned());
            }
            return network(address.into(), bits);
        }
        let (address, bits) = text.split_at(text.find('/').unwrap_or(text.len()));
        if let Ok(address) = address.parse::<Ipv4Addr>() {
            return network(address.into(), bits);
        }
        if !bits.is_empty() {
            return Err("after a slash stands tcp, udp, or the bits of a network of addresses".to_owned());
        }
        let named = |name: &str| match name.parse::<Name>() {
            Ok(name) if name.is_localhost() => {
                Err("this machine is named by its address, 127.0.0.1 or [::1]".to_owned())
            }
            named => named.map_err(|error| error.to_string()),
        };
        match text.strip_prefix("*.") {
            _ if text == "*" => Ok(Self::AnyName),
            Some(name) => named(name).map(Self::Below),
            None if text.contains('*') => {
                Err("an asterisk stands for the first parts of a name, as in *.example.com".to_owned())
            }
            None => named(text).map(Self::Named),
        }
    }
}

/// A network of `address`, where `bits` is nothing or a slash and a number.
fn network(address: IpAddr, bits: &str) -> Result<Host, String> {
    let most =
        if address.is_ipv4() { Ipv4Net::default().max_prefix_len() } else { Ipv6Net::default().max_prefix_len() };
    let bits = match bits.strip_prefix('/') {
        None if bits.is_empty() => most,
        Some(digits) if (1..=3).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            digits.parse().ok().filter(|bits| *bits <= most).ok_or_else(|| format!("a network has 0 to {most} bits"))?
        }
        _ => return Err(format!("{bits:?} is not the bits of a network, /0 to /{most}")),
    };
    let network = IpNet::new(address, bits).map_err(|error| error.to_string())?;
    if network.trunc() != network {
        return Err(format!(
            "{address} is a host within its network; the network is {}",
            Host::Network(network.trunc())
        ));
    }
    Ok(Host::Network(network))
}

impl fmt::Display for Host {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named(name) => write!(formatter, "{name}"),
            Self::Below(name) => write!(formatter, "*.{name}"),
            Self::AnyName => formatter.write_str("*"),
            Self::Network(network) => {
                match network.addr() {
                    IpAddr::V4(address) => write!(formatter, "{address}")?,
                    IpAddr::V6(address) => write!(formatter, "[{address}]")?,
                }
                if self.single().is_some() { Ok(()) } else { write!(formatter, "/{}", network.prefix_len()) }
            }
        }
    }
}
