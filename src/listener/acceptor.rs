//! Accepts connections on one thread from a shared socket, and never spins when it cannot.
//!
//! An accepted connection belongs to no runtime yet, so that another thread may be given it.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{SocketFlags, acceptfrom_with};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::Instant;

use super::socket::Share;
use crate::net::{Endpoint, Transport};

/// How long nothing is accepted after the system ran out of files or memory; others need the time to give some back.
const PAUSE: Duration = Duration::from_millis(100);
/// How often that is logged.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(1);

/// Accepts on the thread whose runtime it was made in.
#[derive(Debug)]
pub struct Acceptor {
    fd: AsyncFd<OwnedFd>,
    address: Endpoint,
    complained: Option<Instant>,
}

/// A connection that no runtime knows yet.
#[derive(Debug)]
pub struct Accepted {
    fd: OwnedFd,
    is_unix: bool,
    /// The client's address, an IPv4-mapped one as IPv4; none over a unix socket.
    pub peer: Option<SocketAddr>,
}

impl Share {
    /// Registers with the runtime of this thread.
    #[expect(
        deprecated,
        reason = "its successor is unsafe for the sake of types whose descriptor changes; OwnedFd's does not"
    )]
    pub fn into_acceptor(self) -> io::Result<Acceptor> {
        let fd = AsyncFd::with_interest(self.fd, Interest::READABLE)?;
        Ok(Acceptor { fd, address: self.address, complained: None })
    }
}

impl Acceptor {
    /// The next connection. Failures of a single connection are passed over; when the system has no files or memory left
    /// it waits, and says so at most once a second. The error is that the runtime ends. Cancel-safe.
    pub async fn accept(&mut self) -> io::Result<Accepted> {
        loop {
            // A flood of clients must not keep the connections of this thread from their turn.
            tokio::task::coop::consume_budget().await;
            let mut ready = self.fd.readable().await?;
            let outcome = ready.try_io(|fd| accept_from(fd.get_ref(), &self.address));
            let error = match outcome {
                Ok(Ok(accepted)) => return Ok(accepted),
                Ok(Err(error)) => error,
                Err(_would_block) => continue,
            };
            if !is_of_one_connection(&error) {
                self.complain(&error);
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    /// A connection that the system has accepted already, asked of the system itself: the runtime may not have heard of
    /// it.
    pub fn accept_now(&mut self) -> Option<Accepted> {
        loop {
            match accept_from(self.fd.get_ref(), &self.address) {
                Ok(accepted) => return Some(accepted),
                Err(error) if is_of_one_connection(&error) => {}
                Err(_) => return None,
            }
        }
    }

    fn complain(&mut self, error: &io::Error) {
        let now = Instant::now();
        if self.complained.is_none_or(|last| now - last >= COMPLAINT_INTERVAL) {
            self.complained = Some(now);
            tracing::error!(address = %self.address, %error, "cannot accept connections for now");
        }
    }
}

fn accept_from(fd: &OwnedFd, address: &Endpoint) -> io::Result<Accepted> {
    let (fd, peer) = acceptfrom_with(fd, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)?;
    let is_unix = matches!(address, Endpoint::Unix(_));
    let peer = peer.and_then(|peer| SocketAddr::try_from(peer).ok()).filter(|_| !is_unix);
    let peer = peer.map(|peer| SocketAddr::new(peer.ip().to_canonical(), peer.port()));
    Ok(Accepted { fd, is_unix, peer })
}

impl Accepted {
    /// Registers with the runtime of this thread, which then serves the connection.
    pub fn into_transport(self) -> io::Result<Transport> {
        Ok(match self.is_unix {
            true => tokio::net::UnixStream::from_std(UnixStream::from(self.fd))?.into(),
            false => tokio::net::TcpStream::from_std(TcpStream::from(self.fd))?.into(),
        })
    }
}

/// Whether only the connection at the head of the queue failed, as accept(2) lists them: the next may be tried at once.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(
            Errno::INTR
                | Errno::CONNABORTED
                | Errno::PROTO
                | Errno::PERM
                | Errno::NETDOWN
                | Errno::NOPROTOOPT
                | Errno::HOSTDOWN
                | Errno::NONET
                | Errno::HOSTUNREACH
                | Errno::OPNOTSUPP
                | Errno::NETUNREACH
                | Errno::TIMEDOUT
        )
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listener::bind;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    fn address(share: &Share) -> SocketAddr {
        match &share.address {
            Endpoint::Inet(address) => *address,
            Endpoint::Unix(path) => panic!("{path:?}"),
        }
    }

    #[tokio::test]
    async fn a_client_of_a_socket_for_both_families_has_its_plain_address() {
        let socket = bind(&":0".parse().unwrap()).unwrap();
        let share = socket.share().unwrap();
        let port = address(&share).port();
        let mut acceptor = share.into_acceptor().unwrap();
        let client = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        assert_eq!(acceptor.accept().await.unwrap().peer, Some(client.local_addr().unwrap()));
    }

    #[tokio::test]
    async fn a_connection_accepted_on_one_thread_is_served_on_another() {
        let socket = bind(&"127.0.0.1:0".parse().unwrap()).unwrap();
        let share = socket.share().unwrap();
        let address = address(&share);
        let mut acceptor = share.into_acceptor().unwrap();
        let mut client = tokio::net::TcpStream::connect(address).await.unwrap();
        let accepted = acceptor.accept().await.unwrap();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async { accepted.into_transport().unwrap().write_all(b"x").await.unwrap() });
        });
        client.read_exact(&mut [0]).await.unwrap();
        thread.join().unwrap();
    }

    #[tokio::test]
    async fn a_client_of_a_unix_socket_has_no_address() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sock");
        let socket = bind(&crate::net::Address::Unix(path.clone())).unwrap();
        let mut acceptor = socket.share().unwrap().into_acceptor().unwrap();
        let mut client = tokio::net::UnixStream::connect(&path).await.unwrap();
        let accepted = acceptor.accept().await.unwrap();
        assert_eq!(accepted.peer, None);
        accepted.into_transport().unwrap().write_all(b"x").await.unwrap();
        client.read_exact(&mut [0]).await.unwrap();
    }

    #[tokio::test]
    async fn two_acceptors_of_one_socket_get_each_connection_once() {
        let socket = bind(&"127.0.0.1:0".parse().unwrap()).unwrap();
        let share = socket.share().unwrap();
        let address = address(&share);
        let (mut one, mut other) =
            (share.into_acceptor().unwrap(), socket.share().unwrap().into_acceptor().unwrap());
        let mut ports = Vec::new();
        let mut clients = Vec::new();
        for _ in 0..50 {
            clients.push(tokio::net::TcpStream::connect(address).await.unwrap());
            let accepted = tokio::select! {
                accepted = one.accept() => accepted,
                accepted = other.accept() => accepted,
            };
            ports.push(accepted.unwrap().peer.unwrap().port());
        }
        ports.sort_unstable();
        let mut expected: Vec<u16> =
            clients.iter().map(|client| client.local_addr().unwrap().port()).collect();
        expected.sort_unstable();
        assert_eq!(ports, expected);
    }

    #[test]
    fn running_out_of_files_is_a_pause_and_an_aborted_connection_is_not() {
        for errno in [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::NOBUFS, Errno::INVAL] {
            assert!(!is_of_one_connection(&errno.into()), "{errno}");
        }
        for errno in [Errno::CONNABORTED, Errno::INTR, Errno::PERM] {
            assert!(is_of_one_connection(&errno.into()), "{errno}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn complaints_come_once_a_second() {
        let socket = bind(&"127.0.0.1:0".parse().unwrap()).unwrap();
        let mut acceptor = socket.share().unwrap().into_acceptor().unwrap();
        acceptor.complain(&Errno::MFILE.into());
        let first = acceptor.complained;
        tokio::time::advance(Duration::from_millis(900)).await;
        acceptor.complain(&Errno::MFILE.into());
        assert_eq!(acceptor.complained, first);
        tokio::time::advance(Duration::from_millis(100)).await;
        acceptor.complain(&Errno::MFILE.into());
        assert_ne!(acceptor.complained, first);
    }
}
