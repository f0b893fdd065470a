//! Special-purpose addresses, which do not belong to a host on the internet: this machine, private networks, multicast, reserved ones.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// The purpose of a range of addresses.
pub(super) type Purpose = &'static str;

/// From the IANA registries of special-purpose addresses (RFC 6890 and its updates). No two ranges overlap.
const V4: [([u8; 4], u8, Purpose); 16] = [
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
    // Multicast, reserved and broadcast addresses.
    ([224, 0, 0, 0], 3, "multicast, reserved or broadcast"),
];

const V6: [([u16; 8], u8, Purpose); 11] = [
    // Unspecified, loopback, IPv4-compatible and IPv4-mapped addresses.
    ([0, 0, 0, 0, 0, 0, 0, 0], 80, "loopback, unspecified or embedded IPv4"),
    ([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48, "local NAT64"),
    ([0x100, 0, 0, 0, 0, 0, 0, 0], 64, "discarding"),
    // Teredo and other protocols. Teredo addresses embed IPv4 addresses.
    ([0x2001, 0, 0, 0, 0, 0, 0, 0], 23, "protocol assignments"),
    ([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32, "documentation"),
    ([0x2002, 0, 0, 0, 0, 0, 0, 0], 16, "6to4"),
    ([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20, "documentation"),
    ([0x5f00, 0, 0, 0, 0, 0, 0, 0], 16, "segment routing"),
    ([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7, "private"),
    // Includes the deprecated site-local addresses.
    ([0xfe80, 0, 0, 0, 0, 0, 0, 0], 9, "link-local"),
    ([0xff00, 0, 0, 0, 0, 0, 0, 0], 8, "multicast"),
];

/// The NAT64 prefix, in which a translator represents all IPv4 addresses (RFC 6052).
const NAT64: ([u16; 8], u8) = ([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96);

/// Returns the special-purpose range that contains all of `network`: its first address and its purpose. Treats an address with the NAT64
/// prefix as the IPv4 address that it represents.
pub(super) fn special_range(network: IpNet) -> Option<(IpAddr, Purpose)> {
    match network {
        IpNet::V4(network) => V4.iter().find_map(|(first, bits, purpose)| {
            let range = Ipv4Net::new_assert(Ipv4Addr::from(*first), *bits);
            range.contains(&network).then_some((range.addr().into(), *purpose))
        }),
        IpNet::V6(network) => {
            if v6(NAT64.0, NAT64.1).contains(&network) {
                let [.., a, b, c, d] = network.addr().octets();
                let bits = network.prefix_len() - NAT64.1;
                return special_range(Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), bits).into());
            }
            V6.iter().find_map(|(first, bits, purpose)| {
                let range = v6(*first, *bits);
                range.contains(&network).then_some((range.addr().into(), *purpose))
            })
        }
    }
}

fn v6(first: [u16; 8], bits: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::from(first), bits)
}
