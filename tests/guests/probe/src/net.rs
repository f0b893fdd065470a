//! The network, through the interfaces of WASI 0.2.

#[cfg(all(target_os = "wasi", target_env = "p2"))]
pub(crate) use self::p2::*;

/// Preview 1 has no calls for these commands, and `std` returns an error for the one that it has.
#[cfg(not(all(target_os = "wasi", target_env = "p2")))]
mod p1 {
    use std::io;

    pub(crate) fn connect(address: &str) -> io::Result<()> {
        std::net::TcpStream::connect(address).map(drop)
    }

    pub(crate) fn net(_: &[&str]) -> Option<io::Result<()>> {
        None
    }
}

#[cfg(not(all(target_os = "wasi", target_env = "p2")))]
pub(crate) use self::p1::*;

#[cfg(all(target_os = "wasi", target_env = "p2"))]
mod p2 {
    use std::io::{self, Write as _};
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

    use wasip2::io::streams::{InputStream, OutputStream, StreamError};
    use wasip2::sockets::instance_network::instance_network;
    use wasip2::sockets::ip_name_lookup::resolve_addresses;
    use wasip2::sockets::network::{
        ErrorCode, IpAddress, IpAddressFamily, IpSocketAddress, Ipv4SocketAddress, Ipv6SocketAddress,
    };
    use wasip2::sockets::tcp::{ShutdownType, TcpSocket};
    use wasip2::sockets::tcp_create_socket::create_tcp_socket;
    use wasip2::sockets::udp::{IncomingDatagramStream, OutgoingDatagram, OutgoingDatagramStream, UdpSocket};
    use wasip2::sockets::udp_create_socket::create_udp_socket;

    /// The number of bytes per write, the maximum of one call.
    const PIECE: usize = 4096;

    pub(crate) fn connect(address: &str) -> io::Result<()> {
        open(parse_address(address)?).map(drop)
    }

    /// Runs a command that needs a network. Returns `None` if `words` is none of them.
    pub(crate) fn net(words: &[&str]) -> Option<io::Result<()>> {
        Some(match words {
            ["resolve", name] => {
                resolve(name).and_then(|found| found.iter().try_for_each(|address| writeln!(io::stdout(), "{address}")))
            }
            ["tcp", host, port, text] => parse_port(port).and_then(|port| tcp(host, port, text)),
            ["dial", address, count] => dial(address, count),
            ["send", address, count] => send(address, count),
            ["receive", address] => receive(address),
            ["udp", address, texts @ ..] => udp(address, texts, false),
            ["udp-connected", address, texts @ ..] => udp(address, texts, true),
            ["udp-astray", address, other] => udp_to_another(address, other, false),
            ["udp-again", address, other] => udp_to_another(address, other, true),
            ["listen", address] => listen(address),
            _ => return None,
        })
    }

    /// Sends `text` to the first address of `host` that accepts a connection, and prints the response.
    fn tcp(host: &str, port: u16, text: &str) -> io::Result<()> {
        let mut failed = io::Error::other("no address");
        for address in resolve(host)? {
            match open(SocketAddr::new(address, port)) {
                Ok(open) => {
                    open.output.blocking_write_and_flush(text.as_bytes()).map_err(stream_error)?;
                    open.socket.shutdown(ShutdownType::Send).map_err(io_error)?;
                    let mut stdout = io::stdout();
                    while let Some(bytes) = read(&open.input)? {
                        stdout.write_all(&bytes)?;
                    }
                    return Ok(());
                }
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }

    /// Opens `count` connections, keeps them open, and prints how many succeeded.
    fn dial(address: &str, count: &str) -> io::Result<()> {
        let address = parse_address(address)?;
        let open: Vec<_> =
            (0..count.parse().map_err(io::Error::other)?).map_while(|_: u64| open(address).ok()).collect();
        writeln!(io::stdout(), "{}", open.len())
    }

    fn send(address: &str, count: &str) -> io::Result<()> {
        let open = open(parse_address(address)?)?;
        let mut left: usize = count.parse().map_err(io::Error::other)?;
        while left > 0 {
            let piece = left.min(PIECE);
            open.output.blocking_write_and_flush(&[b'x'; PIECE][..piece]).map_err(stream_error)?;
            left -= piece;
        }
        writeln!(io::stdout(), "ok")
    }

    /// Prints how many bytes arrived before the end or the first error.
    fn receive(address: &str) -> io::Result<()> {
        let open = open(parse_address(address)?)?;
        let mut count = 0;
        let end = loop {
            match read(&open.input) {
                Ok(Some(bytes)) => count += bytes.len(),
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        writeln!(io::stdout(), "{count}")?;
        end
    }

    /// Sends each text as a datagram and prints the response to it.
    fn udp(address: &str, texts: &[&str], connected: bool) -> io::Result<()> {
        let address = parse_address(address)?;
        let socket = bind(address)?;
        let peer = Some(wasi(address)).filter(|_| connected);
        let (input, output): (IncomingDatagramStream, OutgoingDatagramStream) =
            socket.stream(peer).map_err(io_error)?;
        for text in texts {
            output.subscribe().block();
            output.check_send().map_err(io_error)?;
            let remote_address = Some(wasi(address)).filter(|_| !connected);
            output.send(&[OutgoingDatagram { data: text.as_bytes().to_vec(), remote_address }]).map_err(io_error)?;
            let answer = loop {
                input.subscribe().block();
                if let Some(datagram) = input.receive(1).map_err(io_error)?.pop() {
                    break datagram.data;
                }
            };
            writeln!(io::stdout(), "{}", String::from_utf8_lossy(&answer))?;
        }
        Ok(())
    }

    /// Sends a datagram to `other` through a socket connected to `address`, or, with `again`, through a socket reconnected to `other`.
    fn udp_to_another(address: &str, other: &str, again: bool) -> io::Result<()> {
        let (address, other) = (parse_address(address)?, parse_address(other)?);
        let socket = bind(address)?;
        let mut streams = socket.stream(Some(wasi(address))).map_err(io_error)?;
        if again {
            drop(streams);
            streams = socket.stream(Some(wasi(other))).map_err(io_error)?;
        }
        let (_input, output) = streams;
        output.subscribe().block();
        output.check_send().map_err(io_error)?;
        let remote_address = Some(wasi(other)).filter(|_| !again);
        output.send(&[OutgoingDatagram { data: b"astray".to_vec(), remote_address }]).map_err(io_error)?;
        writeln!(io::stdout(), "ok")
    }

    /// Returns a socket for datagrams to `address`, bound to a free port.
    fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
        let any = if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let (socket, network) = (create_udp_socket(family(address)).map_err(io_error)?, instance_network());
        socket.start_bind(&network, wasi(SocketAddr::new(any, 0))).map_err(io_error)?;
        socket.finish_bind().map_err(io_error)?;
        Ok(socket)
    }

    fn listen(address: &str) -> io::Result<()> {
        let address = parse_address(address)?;
        let (socket, network) = (create_tcp_socket(family(address)).map_err(io_error)?, instance_network());
        socket.start_bind(&network, wasi(address)).map_err(io_error)?;
        socket.finish_bind().map_err(io_error)?;
        socket.start_listen().map_err(io_error)?;
        socket.finish_listen().map_err(io_error)?;
        writeln!(io::stdout(), "ok")
    }

    struct Connection {
        // The streams are child resources of the socket and must be dropped before it.
        input: InputStream,
        output: OutputStream,
        socket: TcpSocket,
    }

    fn open(address: SocketAddr) -> io::Result<Connection> {
        let socket = create_tcp_socket(family(address)).map_err(io_error)?;
        socket.start_connect(&instance_network(), wasi(address)).map_err(io_error)?;
        let (input, output) = loop {
            socket.subscribe().block();
            match socket.finish_connect() {
                Err(ErrorCode::WouldBlock) => {}
                finished => break finished.map_err(io_error)?,
            }
        };
        Ok(Connection { input, output, socket })
    }

    fn resolve(name: &str) -> io::Result<Vec<IpAddr>> {
        let answer = resolve_addresses(&instance_network(), name).map_err(io_error)?;
        let mut found = Vec::new();
        loop {
            match answer.resolve_next_address() {
                Ok(Some(IpAddress::Ipv4((a, b, c, d)))) => found.push(Ipv4Addr::new(a, b, c, d).into()),
                Ok(Some(IpAddress::Ipv6((a, b, c, d, e, f, g, h)))) => {
                    found.push(Ipv6Addr::new(a, b, c, d, e, f, g, h).into());
                }
                Ok(None) => return Ok(found),
                Err(ErrorCode::WouldBlock) => answer.subscribe().block(),
                Err(error) => return Err(io_error(error)),
            }
        }
    }

    fn read(input: &InputStream) -> io::Result<Option<Vec<u8>>> {
        match input.blocking_read(PIECE as u64) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(StreamError::Closed) => Ok(None),
            Err(error) => Err(stream_error(error)),
        }
    }

    fn io_error(code: ErrorCode) -> io::Error {
        io::Error::other(code.name())
    }

    fn stream_error(error: StreamError) -> io::Error {
        match error {
            StreamError::LastOperationFailed(error) => io::Error::other(error.to_debug_string()),
            StreamError::Closed => io::ErrorKind::BrokenPipe.into(),
        }
    }

    fn parse_address(address: &str) -> io::Result<SocketAddr> {
        address.parse().map_err(io::Error::other)
    }

    fn parse_port(port: &str) -> io::Result<u16> {
        port.parse().map_err(io::Error::other)
    }

    fn family(address: SocketAddr) -> IpAddressFamily {
        if address.is_ipv4() { IpAddressFamily::Ipv4 } else { IpAddressFamily::Ipv6 }
    }

    fn wasi(address: SocketAddr) -> IpSocketAddress {
        match address {
            SocketAddr::V4(v4) => {
                let [a, b, c, d] = v4.ip().octets();
                IpSocketAddress::Ipv4(Ipv4SocketAddress { port: v4.port(), address: (a, b, c, d) })
            }
            SocketAddr::V6(v6) => {
                let [a, b, c, d, e, f, g, h] = v6.ip().segments();
                let (port, flow_info, scope_id) = (v6.port(), v6.flowinfo(), v6.scope_id());
                let address = (a, b, c, d, e, f, g, h);
                IpSocketAddress::Ipv6(Ipv6SocketAddress { port, flow_info, address, scope_id })
            }
        }
    }
}
