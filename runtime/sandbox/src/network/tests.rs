use std::io;

use capstan_core::policy::{Ceiling, PolicyRequest, Rule};
use capstan_core::usage::NetworkReport;

use super::lookup::Lookup;
use super::*;

/// Resolves every name to these addresses.
#[derive(Debug)]
struct FixedResolver(Vec<IpAddr>);

#[async_trait::async_trait]
impl Resolve for FixedResolver {
    async fn resolve(&self, _: &str) -> io::Result<Vec<IpAddr>> {
        Ok(self.0.clone())
    }
}

/// Returns the sockets of a run whose policy has `rules`. Every name resolves to `addresses`.
fn network(rules: &[&str], addresses: &[&str], limits: Limits) -> Network {
    let rules: Vec<Rule> = rules.iter().map(|rule| rule.parse().unwrap()).collect();
    let ceiling = Ceiling { network: rules.clone(), ..Ceiling::default() };
    let policy = ceiling
        .evaluate("wc", &PolicyRequest::EMPTY, &PolicyRequest { network: Some(rules), ..PolicyRequest::EMPTY })
        .allowed()
        .unwrap();
    let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
    Network::new(ceiling.reach(&policy, &[]), Resolver::new(FixedResolver(addresses)), limits, Arc::default())
}

fn look_up(network: &Network, name: &str) -> Vec<IpAddr> {
    let mut lookup = Lookup::new(network, name).unwrap_or_else(|error| panic!("{name}: {error:?}"));
    std::iter::from_fn(|| lookup.next().unwrap()).collect()
}

fn can_connect(network: &Network, address: &str) -> bool {
    network.check(address.parse().unwrap(), SocketAddrUse::TcpConnect)
}

fn report(network: &Network) -> NetworkReport {
    *network.0.usage.network.report().unwrap()
}

#[test]
fn address_is_allowed_by_name_that_it_was_looked_up_for() {
    let addresses = ["93.184.216.34", "10.0.0.1", "::ffff:8.8.4.4"];
    let network = network(&["*.example.com:443"], &addresses, Limits::default());
    assert!(!can_connect(&network, "93.184.216.34:443"), "it was not looked up yet");
    assert_eq!(look_up(&network, "API.example.com.").len(), 3);
    assert!(can_connect(&network, "93.184.216.34:443") && can_connect(&network, "8.8.4.4:443"));
    for denied in ["93.184.216.34:80", "93.184.216.35:443", "10.0.0.1:443"] {
        assert!(!can_connect(&network, denied), "{denied}");
    }
    assert!(!network.check("93.184.216.34:443".parse().unwrap(), SocketAddrUse::UdpSend));
    let report = report(&network);
    assert_eq!((report.peers.len(), report.peers[0].host.as_str()), (1, "api.example.com"));
    assert_eq!(report.peers[0].traffic.connections, 2);
}

#[test]
fn lookup_of_one_run_allows_nothing_to_another() {
    let rules = ["example.com"];
    let one = network(&rules, &["93.184.216.34"], Limits::default());
    look_up(&one, "example.com");
    assert!(can_connect(&one, "93.184.216.34:443"));
    assert!(!can_connect(&network(&rules, &[], Limits::default()), "93.184.216.34:443"));
}

#[test]
fn udp_receives_only_from_peers_it_sent_to_and_counts_each_once() {
    let limits = Limits { connections: 1, ..Limits::default() };
    let network = network(&["8.8.0.0/16:53/udp"], &[], limits);
    let check = |address: &str, purpose| network.check(address.parse().unwrap(), purpose);
    assert!(!check("8.8.8.8:53", SocketAddrUse::UdpReceive));
    assert!(check("8.8.8.8:53", SocketAddrUse::UdpSend) && check("8.8.8.8:53", SocketAddrUse::UdpSend));
    assert!(check("8.8.8.8:53", SocketAddrUse::UdpReceive));
    assert!(!check("8.8.4.4:53", SocketAddrUse::UdpReceive) && !check("8.8.4.4:53", SocketAddrUse::UdpSend));
    assert_eq!(network.or_network_cap(Outcome::SUCCESS), Outcome::SUCCESS);
    let capped = Outcome::NetworkCap { what: NetworkLimit::Connections, limit: 1 };
    assert_eq!(network.or_network_cap(Outcome::Exited { code: 1 }), capped);
    let denied = Outcome::MemoryDenied { limit: 1 };
    assert_eq!(network.or_network_cap(denied.clone()), denied);
}

#[test]
fn sockets_bind_only_to_unspecified_address_and_port() {
    let network = network(&["0.0.0.0/0", "127.0.0.0/8", "0.0.0.0"], &[], Limits::default());
    let check = |address: &str, purpose| network.check(address.parse().unwrap(), purpose);
    for address in ["0.0.0.0:0", "[::]:0"] {
        assert!(check(address, SocketAddrUse::TcpBind) && check(address, SocketAddrUse::UdpBind));
        assert!(!check(address, SocketAddrUse::TcpListen) && !check(address, SocketAddrUse::TcpAccept));
    }
    for address in ["0.0.0.0:80", "127.0.0.1:0", "[::1]:0", "8.8.8.8:0"] {
        assert!(!check(address, SocketAddrUse::TcpBind) && !check(address, SocketAddrUse::UdpBind), "{address}");
    }
}

#[test]
fn remembered_names_and_addresses_are_bounded() {
    let network = network(&["*"], &[], Limits::default());
    for (number, name) in (0..10_000_u32).map(|number| (number, format!("n{number}.example").parse::<Name>().unwrap()))
    {
        network.remember(&name, &[std::net::Ipv4Addr::from(0x0800_0000 + number).into(), "8.8.8.8".parse().unwrap()]);
    }
    let state = network.lock();
    assert!(
        state.names.len() <= MAX_REMEMBERED && state.names.values().map(Vec::len).sum::<usize>() <= 2 * MAX_REMEMBERED
    );
}

#[test]
fn shadow_sockets_fails_without_functions_to_replace() {
    let engine = wasmtime::Engine::default();
    let mut linker = wasmtime::component::Linker::new(&engine);
    let error = shadow_sockets(&mut linker).expect_err("there is nothing to replace").to_string();
    assert!(error.contains("wasi:sockets/ip-name-lookup@"), "{error}");
    let mut linker = wasmtime::component::Linker::new(&engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker).unwrap();
    shadow_sockets(&mut linker).unwrap();
}
