//! [`Host`]: the hosts to which a rule applies.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::name::Name;
use super::special_range::special_range;

/// The hosts to which a rule applies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// The addresses to which this name resolves.
    Name(Name),
    /// The addresses to which any name below this one resolves.
    Subdomains(Name),
    /// The addresses to which any name resolves.
    AnyName,
    /// The addresses of this network.
    Network(IpNet),
}

impl Host {
    /// Returns whether it includes the addresses to which `name` resolves.
    pub fn matches_name(&self, name: &Name) -> bool {
        match self {
            Self::Name(own) => name == own,
            Self::Subdomains(own) => name.is_below(own),
            Self::AnyName => true,
            Self::Network(_) => false,
        }
    }

    /// Returns whether it includes `address` by address. A network that contains special-purpose addresses among others does not include
    /// them.
    pub fn matches_address(&self, address: IpAddr) -> bool {
        self.includes(IpNet::from(address))
    }

    /// Returns whether its network contains `address`, even a special-purpose one.
    pub fn contains_address(&self, address: IpAddr) -> bool {
        matches!(self, Self::Network(own) if own.contains(&address))
    }

    /// Returns whether `other` includes everything that this host includes.
    pub(in crate::policy) fn is_within(&self, other: &Self) -> bool {
        match self {
            Self::Name(name) => other.matches_name(name),
            Self::Subdomains(name) => match other {
                Self::Subdomains(own) => name == own || name.is_below(own),
                Self::AnyName => true,
                Self::Name(_) | Self::Network(_) => false,
            },
            Self::AnyName => *other == Self::AnyName,
            Self::Network(network) => other.includes(*network),
        }
    }

    fn includes(&self, network: IpNet) -> bool {
        let Self::Network(own) = self else { return false };
        own.contains(&network) && special_range(network).is_none_or(|range| special_range(*own) == Some(range))
    }

    /// Returns the address if there is only one.
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
                address.parse().map_err(|_| format!("{address:?}, in brackets, is no IPv6 address"))?;
            if address.to_ipv4_mapped().is_some() {
                return Err("this is an IPv4 address in IPv6 form; write an IPv4 address".to_owned());
            }
            return network(address.into(), bits);
        }
        let (address, bits) = text.split_at(text.find('/').unwrap_or(text.len()));
        if let Ok(address) = address.parse::<Ipv4Addr>() {
            return network(address.into(), bits);
        }
        if !bits.is_empty() {
            return Err("after a slash, expected tcp, udp, or the prefix length of a network of addresses".to_owned());
        }
        let parse_name = |name: &str| match name.parse::<Name>() {
            Ok(name) if name.is_localhost() => Err("name this machine by its address, 127.0.0.1 or [::1]".to_owned()),
            parsed => parsed.map_err(|error| error.to_string()),
        };
        match text.strip_prefix("*.") {
            _ if text == "*" => Ok(Self::AnyName),
            Some(name) => parse_name(name).map(Self::Subdomains),
            None if text.contains('*') => {
                Err("an asterisk can only be the first part of a name, as in *.example.com".to_owned())
            }
            None => parse_name(text).map(Self::Name),
        }
    }
}

/// Returns the network of `address`. `bits` is empty, or a slash and the prefix length.
fn network(address: IpAddr, bits: &str) -> Result<Host, String> {
    let max = if address.is_ipv4() { Ipv4Net::default().max_prefix_len() } else { Ipv6Net::default().max_prefix_len() };
    let bits = match bits.strip_prefix('/') {
        None if bits.is_empty() => max,
        Some(digits) if (1..=3).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            digits.parse().ok().filter(|bits| *bits <= max).ok_or_else(|| format!("a prefix length is 0 to {max}"))?
        }
        _ => return Err(format!("{bits:?} is not a prefix length from /0 to /{max}")),
    };
    let network = IpNet::new(address, bits).map_err(|error| error.to_string())?;
    if network.trunc() != network {
        return Err(format!(
            "{address} has bits set after the prefix; the network is {}",
            Host::Network(network.trunc())
        ));
    }
    Ok(Host::Network(network))
}

impl fmt::Display for Host {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => write!(formatter, "{name}"),
            Self::Subdomains(name) => write!(formatter, "*.{name}"),
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
