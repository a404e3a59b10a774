//! A port that stays ours: bound for as long as the test lives, so that nobody else gets it while our server is down.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use socket2::{Domain, Socket, Type};

/// A bound port. Connecting to it is refused until a listener is made on it.
#[derive(Debug)]
pub struct Port {
    address: SocketAddr,
    /// Bound, never listening. SO_REUSEPORT lets the listeners bind beside it; only listening sockets get connections.
    _reserved: Socket,
}

impl Port {
    pub fn reserve() -> Self {
        Self::reserve_at(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).expect("a port is free")
    }

    /// The same port at two addresses of loopback: what one host name may lead to.
    pub fn reserve_two() -> [Self; 2] {
        let other = Ipv4Addr::new(127, 0, 0, 2);
        let two = || {
            let one = Self::reserve();
            let port = one.address.port();
            Some([one, Self::reserve_at(SocketAddr::from((other, port)))?])
        };
        // Somebody else may have it at the other address.
        (0..100).find_map(|_| two()).expect("a port is free at both addresses")
    }

    fn reserve_at(address: SocketAddr) -> Option<Self> {
        let socket = bound(address).ok()?;
        let address =
            socket.local_addr().expect("a bound socket has an address").as_socket().expect("an IP socket");
        Some(Self { address, _reserved: socket })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts connections from now on, until the listener is dropped.
    pub fn listen(&self) -> tokio::net::TcpListener {
        let socket = bound(self.address).expect("the port is ours");
        socket.listen(4096).expect("a bound socket can listen");
        tokio::net::TcpListener::from_std(socket.into()).expect("a listener enters the runtime")
    }
}

fn bound(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_reuse_port(true).expect("SO_REUSEPORT can be set");
    socket.set_reuse_address(true).expect("SO_REUSEADDR can be set");
    socket.set_nonblocking(true).expect("a socket can be made non-blocking");
    socket.bind(&address.into())?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_reserved_port_refuses_until_it_listens_and_again_afterwards() {
        let port = Port::reserve();
        for _ in 0..2 {
            assert!(tokio::net::TcpStream::connect(port.address()).await.is_err());
            let listener = port.listen();
            let (client, accepted) =
                tokio::join!(tokio::net::TcpStream::connect(port.address()), listener.accept());
            assert!(client.is_ok() && accepted.is_ok());
        }
    }
}
