//! Addresses that are not anybody's on the internet: this machine, the networks around it, and what is no host at all.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// What addresses are special for.
pub(super) type Range = &'static str;

/// From the registries of special-purpose addresses (RFC 6890 and those after it). No two overlap.
const V4: [([u8; 4], u8, Range); 16] = [
    ([0, 0, 0, 0], 8, "unspecified"),
    ([10, 0, 0, 0], 8, "private"),
    ([100, 64, 0, 0], 10, "carrier-grade NAT"),
    ([127, 0, 0, 0], 8, "loopback"),
    ([169, 254, 0, 0], 16, "link-local"),
    ([172, 16, 0, 0], 12, "private"),
    ([192, 0, 0, 0], 24, "reserved"),
    ([192, 0, 2, 0], 24, "documentation"),
    ([192, 31, 196, 0], 24, "reserved"),
    ([192, 52, 193, 0], 24, "reserved"),
    ([192, 88, 99, 0], 24, "6to4 relay"),
    ([192, 168, 0, 0], 16, "private"),
    ([198, 18, 0, 0], 15, "benchmarking"),
    ([198, 51, 100, 0], 24, "documentation"),
    ([203, 0, 113, 0], 24, "documentation"),
    // Multicast, what is reserved, and broadcast.
    ([224, 0, 0, 0], 3, "multicast, reserved or broadcast"),
];

const V6: [([u16; 8], u8, Range); 11] = [
    // Unspecified, loopback, IPv4-compatible and IPv4-mapped addresses.
    ([0, 0, 0, 0, 0, 0, 0, 0], 80, "loopback, unspecified or embedded IPv4"),
    ([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48, "local NAT64"),
    ([0x100, 0, 0, 0, 0, 0, 0, 0], 64, "discarding"),
    // Teredo and other protocols; the addresses of Teredo embed IPv4.
    ([0x2001, 0, 0, 0, 0, 0, 0, 0], 23, "protocol assignments"),
    ([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32, "documentation"),
    ([0x2002, 0, 0, 0, 0, 0, 0, 0], 16, "6to4"),
    ([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20, "documentation"),
    ([0x5f00, 0, 0, 0, 0, 0, 0, 0], 16, "segment routing"),
    ([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7, "private"),
    // What was site-local stands beside it.
    ([0xfe80, 0, 0, 0, 0, 0, 0, 0], 9, "link-local"),
    ([0xff00, 0, 0, 0, 0, 0, 0, 0], 8, "multicast"),
];

/// Where a translator stands for all of IPv4 (RFC 6052).
const NAT64: ([u16; 8], u8) = ([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96);

/// The one special range in which all of `network` lies. What a NAT64 translator would make an IPv4 address of is taken for that.
pub(super) fn special(network: IpNet) -> Option<(IpAddr, Range)> {
    match network {
        IpNet::V4(network) => V4.iter().find_map(|(first, bits, range)| {
            let own = Ipv4Net::new_assert(Ipv4Addr::from(*first), *bits);
            own.contains(&network).then_some((own.addr().into(), *range))
        }),
        IpNet::V6(network) => {
            if v6(NAT64.0, NAT64.1).contains(&network) {
                let [.., a, b, c, d] = network.addr().octets();
                let bits = network.prefix_len() - NAT64.1;
                return special(Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), bits).into());
            }
            V6.iter().find_map(|(first, bits, range)| {
                let own = v6(*first, *bits);
                own.contains(&network).then_some((own.addr().into(), *range))
            })
        }
    }
}

fn v6(first: [u16; 8], bits: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::from(first), bits)
}
