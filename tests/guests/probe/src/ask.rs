//! What only the host can give: time, files and the network.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::time::{Duration, Instant, SystemTime};

pub(crate) fn now() -> io::Result<()> {
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_err(io::Error::other)?;
    writeln!(io::stdout(), "{}.{:09}", since_1970.as_secs(), since_1970.subsec_nanos())
}

/// All that a program learns of time and chance.
pub(crate) fn senses() -> io::Result<()> {
    let begun = Instant::now();
    now()?;
    let keys: Vec<u32> = (0..32).collect::<HashSet<_>>().into_iter().collect();
    writeln!(io::stdout(), "{keys:?}")?;
    std::thread::sleep(Duration::from_millis(3));
    writeln!(io::stdout(), "{}", begun.elapsed().as_nanos())
}

pub(crate) fn read(path: &str) -> io::Result<()> {
    let bytes = fs::read(path)?;
    io::stdout().write_all(&bytes)
}

pub(crate) fn write(path: &str, text: &str) -> io::Result<()> {
    fs::write(path, text)?;
    writeln!(io::stdout(), "ok")
}

pub(crate) fn ls(path: &str) -> io::Result<()> {
    let entries = fs::read_dir(path)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let mut names: Vec<String> = entries.collect::<io::Result<_>>()?;
    names.sort_unstable();
    let mut stdout = io::stdout().lock();
    names.iter().try_for_each(|name| writeln!(stdout, "{name}"))
}

/// The first refusal is told on stderr, since the number is the answer.
pub(crate) fn handles(count: usize, path: &str) -> io::Result<()> {
    let mut open = Vec::new();
    for _ in 0..count {
        match File::open(path) {
            Ok(file) => open.push(file),
            Err(error) => {
                eprintln!("{error}");
                break;
            }
        }
    }
    writeln!(io::stdout(), "{}", open.len())
}

pub(crate) fn connect(address: &str) -> io::Result<()> {
    tcp::connect(address)?;
    writeln!(io::stdout(), "ok")
}

#[cfg(not(all(target_os = "wasi", target_env = "p2")))]
mod tcp {
    /// Preview 1 has no call for this, and `std` says so.
    pub(super) fn connect(address: &str) -> std::io::Result<()> {
        std::net::TcpStream::connect(address).map(drop)
    }
}

#[cfg(all(target_os = "wasi", target_env = "p2"))]
mod tcp {
    use std::io;
    use std::net::SocketAddr;

    use wasip2::sockets::network::{ErrorCode, IpAddressFamily, IpSocketAddress, Ipv4SocketAddress, Ipv6SocketAddress};
    use wasip2::sockets::{instance_network::instance_network, tcp_create_socket::create_tcp_socket};

    pub(super) fn connect(address: &str) -> io::Result<()> {
        let (family, address) = parse(address)?;
        let told = |code: ErrorCode| io::Error::other(code.name());
        let socket = create_tcp_socket(family).map_err(told)?;
        socket.start_connect(&instance_network(), address).map_err(told)?;
        socket.subscribe().block();
        socket.finish_connect().map(drop).map_err(told)
    }

    fn parse(address: &str) -> io::Result<(IpAddressFamily, IpSocketAddress)> {
        Ok(match address.parse().map_err(io::Error::other)? {
            SocketAddr::V4(v4) => {
                let [a, b, c, d] = v4.ip().octets();
                let address = Ipv4SocketAddress { port: v4.port(), address: (a, b, c, d) };
                (IpAddressFamily::Ipv4, IpSocketAddress::Ipv4(address))
            }
            SocketAddr::V6(v6) => {
                let [a, b, c, d, e, f, g, h] = v6.ip().segments();
                let (port, flow_info, scope_id) = (v6.port(), v6.flowinfo(), v6.scope_id());
                let address = Ipv6SocketAddress { port, flow_info, address: (a, b, c, d, e, f, g, h), scope_id };
                (IpAddressFamily::Ipv6, IpSocketAddress::Ipv6(address))
            }
        })
    }
}
