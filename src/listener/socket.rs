//! A listening socket: one for an address and all engine threads, for as long as the address is listened on.
//!
//! No SO_REUSEPORT: closing one socket of such a group loses the connections queued on it. Accepting is `Acceptor`'s work.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt;
use socket2::{Domain, Protocol, SockAddr, SockFilter, SockRef, Type};

use crate::net::{Address, Endpoint};

/// Connections that wait to be accepted; the kernel lowers it to net.core.somaxconn.
const BACKLOG: i32 = 65_535;
/// A peer that is silent this long is asked whether it is still there ...
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
/// ... again after this ...
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// ... this often before the connection ends.
const KEEPALIVE_PROBES: u32 = 3;
/// How long sent bytes may stay unacknowledged, in ms; as long as the probes take, or it would cut them short.
const USER_TIMEOUT_MS: u32 = 90_000;
/// Bytes that the kernel holds for a client beyond what is on its way; two of our largest writes. Without it a client that
/// reads nothing costs megabytes each, and a thousand of them all memory that the machine has for TCP (`net.ipv4.tcp_mem`).
const UNSENT: u32 = 128 * 1024;
/// Classic BPF over the TCP header (bpf(4)): drops segments with SYN, passes all others.
const DROP_SYN: [SockFilter; 4] = [
    SockFilter::new(0x30, 0, 0, 13),          // load the byte of flags
    SockFilter::new(0x45, 0, 1, 0x02),        // unless SYN is set, skip one
    SockFilter::new(0x06, 0, 0, 0),           // drop
    SockFilter::new(0x06, 0, 0, 0xffff_ffff), // pass
];
/// Owner and group may connect.
const SOCKET_MODE: u32 = 0o660;

/// A bound and listening socket. Its unix socket file goes away with it.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    address: Endpoint,
    // Held for its Drop.
    file: Option<SocketFile>,
}

/// The same listening socket once more, for one thread to accept from.
#[derive(Debug)]
pub struct Share {
    pub(super) fd: OwnedFd,
    pub(super) address: Endpoint,
}

/// Why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error("`{0}` is a host name; write an IP address, :PORT for all addresses, or unix:/PATH")]
    HostName(Address),
    #[error("another program listens on {0}; `ss -ltnp 'sport = :{port}'` shows which", port = .0.port())]
    InUse(SocketAddr),
    #[error(
        "port {0} is not allowed: ports below 1024 need CAP_NET_BIND_SERVICE (in a systemd unit: \
         AmbientCapabilities=CAP_NET_BIND_SERVICE; for a file: setcap cap_net_bind_service=+ep FILE)"
    )]
    Privileged(u16),
    #[error("this machine has no address {0}; `ip address` shows those it has")]
    NoSuchAddress(std::net::IpAddr),
    #[error("another program answers on {socket}; stop it first (`ss -lxp src {socket}` shows which)", socket = .0.display())]
    SocketInUse(PathBuf),
    #[error("`{path}` is there already and is not a socket; it is left alone", path = .0.display())]
    NotASocket(PathBuf),
    #[error("`{path}` is longer than the 107 bytes that a unix socket's path may have", path = .0.display())]
    PathTooLong(PathBuf),
    #[error("the folder of `{path}` does not exist", path = .0.display())]
    NoFolder(PathBuf),
    #[error("cannot listen on {endpoint}: {source}")]
    Io { endpoint: Endpoint, source: io::Error },
}

/// Binds `address` and listens.
pub fn bind(address: &Address) -> Result<Socket, BindError> {
    match address {
        Address::Inet(address) => bind_inet(*address),
        Address::Unix(path) => bind_unix(path),
        Address::Host { .. } => Err(BindError::HostName(address.clone())),
    }
}

impl Socket {
    /// The address as bound: with the port that the system chose where the Spec says 0.
    pub fn local_address(&self) -> &Endpoint {
        &self.address
    }

    /// A socket that another process has bound to `address` and listens on.
    pub fn inherit(fd: OwnedFd, address: &Address) -> io::Result<Self> {
        let socket = SockRef::from(&fd);
        socket.set_nonblocking(true)?;
        match address {
            Address::Unix(path) => {
                let file = Some(SocketFile::of(path)?);
                Ok(Self { fd, address: Endpoint::Unix(path.clone()), file })
            }
            _ => match socket.local_addr()?.as_socket() {
                Some(local) => Ok(Self { fd, address: Endpoint::Inet(local), file: None }),
                None => Err(io::ErrorKind::InvalidInput.into()),
            },
        }
    }

    /// One more descriptor of it, for another process.
    pub fn descriptor(&self) -> io::Result<OwnedFd> {
        self.fd.try_clone()
    }

    /// Another process listens on it from now on: its file stays.
    pub fn leave_file(&mut self) {
        if let Some(file) = self.file.take() {
            std::mem::forget(file);
        }
    }

    /// Has the system drop attempts to connect from now on, while what is connected can still be accepted.
    ///
    /// Closing a listening socket resets the connections queued on it, and under load there always is one. Whoever
    /// tries to connect asks again after a second and is then refused, which loses no request.
    pub fn turn_away(&self) -> io::Result<()> {
        SockRef::from(&self.fd).attach_filter(&DROP_SYN)
    }

    /// The socket for one more thread. All shares draw from one queue of connections, which lives until the last is gone.
    pub fn share(&self) -> io::Result<Share> {
        Ok(Share { fd: self.fd.try_clone()?, address: self.address.clone() })
    }
}

fn bind_inet(wanted: SocketAddr) -> Result<Socket, BindError> {
    let socket =
        or_without_ipv6(wanted, listen_inet).map_err(|source| match Errno::from_io_error(&source) {
            Some(Errno::ADDRINUSE) => BindError::InUse(wanted),
            Some(Errno::ACCESS) if wanted.port() < 1024 => BindError::Privileged(wanted.port()),
            Some(Errno::ADDRNOTAVAIL) => BindError::NoSuchAddress(wanted.ip()),
            _ => BindError::Io { endpoint: Endpoint::Inet(wanted), source },
        })?;
    let local = socket.local_addr().ok().and_then(|address| address.as_socket());
    Ok(Socket { fd: socket.into(), address: Endpoint::Inet(local.unwrap_or(wanted)), file: None })
}

/// Tries 0.0.0.0 where `[::]` was asked for on a machine without IPv6.
fn or_without_ipv6<T>(wanted: SocketAddr, bind: impl Fn(SocketAddr) -> io::Result<T>) -> io::Result<T> {
    let outcome = bind(wanted);
    match &outcome {
        Err(error) if wanted.is_ipv6() && wanted.ip().is_unspecified() => match Errno::from_io_error(error) {
            Some(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL) => {
                bind((Ipv4Addr::UNSPECIFIED, wanted.port()).into())
            }
            _ => outcome,
        },
        _ => outcome,
    }
}

fn listen_inet(address: SocketAddr) -> io::Result<socket2::Socket> {
    let socket = socket2::Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    // Connections of an earlier process that still wind down must not keep the port.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // Said explicitly, since net.ipv6.bindv6only may say otherwise.
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    // Accepted connections inherit these from the listening socket (a test holds the kernel to it), which saves each of
    // them seven system calls.
    let fd = socket.as_fd();
    sockopt::set_tcp_nodelay(fd, true)?;
    sockopt::set_socket_keepalive(fd, true)?;
    sockopt::set_tcp_keepidle(fd, KEEPALIVE_IDLE)?;
    sockopt::set_tcp_keepintvl(fd, KEEPALIVE_INTERVAL)?;
    sockopt::set_tcp_keepcnt(fd, KEEPALIVE_PROBES)?;
    sockopt::set_tcp_user_timeout(fd, USER_TIMEOUT_MS)?;
    socket.set_tcp_notsent_lowat(UNSENT)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

fn bind_unix(path: &Path) -> Result<Socket, BindError> {
    let failed = |source| BindError::Io { endpoint: Endpoint::Unix(path.to_owned()), source };
    let address = SockAddr::unix(path).map_err(|_| BindError::PathTooLong(path.to_owned()))?;
    remove_stale(path, &address)?;
    let socket = socket2::Socket::new(Domain::UNIX, Type::STREAM, None).map_err(failed)?;
    socket.set_nonblocking(true).map_err(failed)?;
    // On Linux the file takes the mode of the unbound socket, less the umask: so it is never wider than it should be.
    let _ = rustix::fs::fchmod(&socket, rustix::fs::Mode::from_raw_mode(SOCKET_MODE));
    socket.bind(&address).map_err(|source| match Errno::from_io_error(&source) {
        Some(Errno::NOENT) => BindError::NoFolder(path.to_owned()),
        Some(Errno::ADDRINUSE) => BindError::SocketInUse(path.to_owned()),
        _ => failed(source),
    })?;
    let file = SocketFile::of(path).map_err(failed)?;
    fs::set_permissions(path, fs::Permissions::from_mode(SOCKET_MODE)).map_err(failed)?;
    socket.listen(BACKLOG).map_err(failed)?;
    Ok(Socket { fd: socket.into(), address: Endpoint::Unix(path.to_owned()), file: Some(file) })
}

/// Makes room at `path`, but only for what nobody would miss: a socket on which nobody answers.
fn remove_stale(path: &Path, address: &SockAddr) -> Result<(), BindError> {
    let failed = |source| BindError::Io { endpoint: Endpoint::Unix(path.to_owned()), source };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(BindError::NotASocket(path.to_owned()));
        }
        Ok(_) => {}
    }
    let probe = socket2::Socket::new(Domain::UNIX, Type::STREAM, None).map_err(failed)?;
    // A full queue must not make us wait.
    probe.set_nonblocking(true).map_err(failed)?;
    match probe.connect(address) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        // It answers, it is too busy to, or we may not ask: in no case is it ours to remove.
        _ => return Err(BindError::SocketInUse(path.to_owned())),
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(error)),
        _ => Ok(()),
    }
}

/// The file of a unix socket that we made; removed on drop unless another has taken its place.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    /// Device and inode.
    identity: (u64, u64),
}

impl SocketFile {
    fn of(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), identity: Self::identity(path)? })
    }

    fn identity(path: &Path) -> io::Result<(u64, u64)> {
        fs::symlink_metadata(path).map(|metadata| (metadata.dev(), metadata.ino()))
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if Self::identity(&self.path).is_ok_and(|now| now == self.identity) {
            // Left behind at worst, and then removed as stale at the next start.
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{IpAddr, TcpStream};
    use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};

    fn port(socket: &Socket) -> u16 {
        match socket.local_address() {
            Endpoint::Inet(address) => address.port(),
            Endpoint::Unix(path) => panic!("{path:?}"),
        }
    }

    fn unix(path: &Path) -> Address {
        Address::Unix(path.to_owned())
    }

    #[test]
    fn a_port_left_to_the_system_is_told() {
        let socket = bind(&"127.0.0.1:0".parse().unwrap()).unwrap();
        assert_ne!(port(&socket), 0);
        TcpStream::connect(("127.0.0.1", port(&socket))).unwrap();
    }

    #[test]
    fn all_addresses_means_both_families() {
        let socket = bind(&":0".parse().unwrap()).unwrap();
        TcpStream::connect(("127.0.0.1", port(&socket))).unwrap();
        if matches!(socket.local_address(), Endpoint::Inet(SocketAddr::V6(_))) {
            TcpStream::connect(("::1", port(&socket))).unwrap();
        }
    }

    #[test]
    fn without_ipv6_all_addresses_are_those_of_ipv4() {
        let any: SocketAddr = "[::]:80".parse().unwrap();
        for errno in [Errno::AFNOSUPPORT, Errno::ADDRNOTAVAIL] {
            let bind = |address: SocketAddr| if address.is_ipv6() { Err(errno.into()) } else { Ok(address) };
            assert_eq!(or_without_ipv6(any, bind).unwrap(), "0.0.0.0:80".parse().unwrap());
            assert!(or_without_ipv6("[::1]:80".parse().unwrap(), bind).is_err());
        }
        let busy = |_| -> io::Result<()> { Err(Errno::ADDRINUSE.into()) };
        assert_eq!(Errno::from_io_error(&or_without_ipv6(any, busy).unwrap_err()), Some(Errno::ADDRINUSE));
    }

    #[test]
    fn a_taken_port_is_an_error_that_tells_how_to_find_its_holder() {
        let first = bind(&"127.0.0.1:0".parse().unwrap()).unwrap();
        let address = format!("127.0.0.1:{}", port(&first));
        let error = bind(&address.parse().unwrap()).unwrap_err().to_string();
        assert_eq!(
            error,
            format!(
                "another program listens on {address}; `ss -ltnp 'sport = :{}'` shows which",
                port(&first)
            )
        );
        drop(first);
        bind(&address.parse().unwrap()).unwrap();
    }

    #[test]
    fn addresses_that_cannot_be_bound_say_why() {
        let foreign = bind(&"192.0.2.1:0".parse().unwrap()).unwrap_err();
        assert!(matches!(foreign, BindError::NoSuchAddress(IpAddr::V4(_))), "{foreign}");
        let name: Address = "localhost:80".parse().unwrap();
        let name = bind(&name).unwrap_err().to_string();
        assert_eq!(
            name,
            "`localhost:80` is a host name; write an IP address, :PORT for all addresses, or unix:/PATH"
        );
        assert!(BindError::Privileged(80).to_string().contains("CAP_NET_BIND_SERVICE"));
    }

    #[test]
    fn accepted_connections_inherit_the_options_of_the_socket() {
        let socket = bind(&"127.0.0.1:0".parse().unwrap()).unwrap();
        let _client = TcpStream::connect(("127.0.0.1", port(&socket))).unwrap();
        let accepted = rustix::net::accept(&socket.fd).unwrap();
        assert!(sockopt::tcp_nodelay(&accepted).unwrap());
        assert!(sockopt::socket_keepalive(&accepted).unwrap());
        assert_eq!(sockopt::tcp_keepidle(&accepted).unwrap(), KEEPALIVE_IDLE);
        assert_eq!(sockopt::tcp_keepintvl(&accepted).unwrap(), KEEPALIVE_INTERVAL);
        assert_eq!(sockopt::tcp_keepcnt(&accepted).unwrap(), KEEPALIVE_PROBES);
        assert_eq!(sockopt::tcp_user_timeout(&accepted).unwrap(), USER_TIMEOUT_MS);
        assert_eq!(SockRef::from(&accepted).tcp_notsent_lowat().unwrap(), UNSENT);
    }

    #[test]
    fn sockets_are_not_passed_on_to_programs_and_never_block() {
        for socket in [bind(&"127.0.0.1:0".parse().unwrap()).unwrap()] {
            let share = socket.share().unwrap();
            for fd in [&socket.fd, &share.fd] {
                assert!(rustix::io::fcntl_getfd(fd).unwrap().contains(rustix::io::FdFlags::CLOEXEC));
                assert!(rustix::fs::fcntl_getfl(fd).unwrap().contains(rustix::fs::OFlags::NONBLOCK));
            }
        }
    }

    #[test]
    fn connections_queued_on_a_socket_outlive_its_first_owner() {
        let socket = bind(&"127.0.0.1:0".parse().unwrap()).unwrap();
        let mut client = TcpStream::connect(("127.0.0.1", port(&socket))).unwrap();
        let share = socket.share().unwrap();
        drop(socket);
        let mut accepted = TcpStream::from(rustix::net::accept(&share.fd).unwrap());
        accepted.write_all(b"x").unwrap();
        client.read_exact(&mut [0]).unwrap();
    }

    #[test]
    fn a_unix_socket_is_for_owner_and_group_and_goes_away_on_drop() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sock");
        let socket = bind(&unix(&path)).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
        assert_eq!(*socket.local_address(), Endpoint::Unix(path.clone()));
        UnixStream::connect(&path).unwrap();
        drop(socket);
        assert!(!path.exists());
    }

    #[test]
    fn a_dead_socket_is_replaced_and_a_live_one_or_another_file_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sock");
        // Dropped without removing its file, as a killed process leaves it.
        drop(UnixListener::bind(&path).unwrap());
        let socket = bind(&unix(&path)).unwrap();
        let error = bind(&unix(&path)).unwrap_err();
        assert!(matches!(error, BindError::SocketInUse(_)), "{error}");
        UnixStream::connect(&path).unwrap();
        drop(socket);

        let _datagrams = UnixDatagram::bind(&path).unwrap();
        assert!(matches!(bind(&unix(&path)).unwrap_err(), BindError::SocketInUse(_)));
        fs::remove_file(&path).unwrap();
        fs::write(&path, "precious").unwrap();
        assert!(matches!(bind(&unix(&path)).unwrap_err(), BindError::NotASocket(_)));
        assert_eq!(fs::read(&path).unwrap(), b"precious");
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink(folder.path().join("elsewhere"), &path).unwrap();
        assert!(matches!(bind(&unix(&path)).unwrap_err(), BindError::NotASocket(_)));
    }

    #[test]
    fn a_file_that_took_the_place_of_ours_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sock");
        let ours = bind(&unix(&path)).unwrap();
        fs::rename(&path, folder.path().join("moved.sock")).unwrap();
        let _other = UnixListener::bind(&path).unwrap();
        drop(ours);
        assert!(path.exists());
    }

    #[test]
    fn paths_that_cannot_be_bound_say_why() {
        let folder = tempfile::tempdir().unwrap();
        let long = folder.path().join("x".repeat(108));
        assert!(matches!(bind(&unix(&long)).unwrap_err(), BindError::PathTooLong(_)));
        let nowhere = folder.path().join("nowhere/a.sock");
        assert!(matches!(bind(&unix(&nowhere)).unwrap_err(), BindError::NoFolder(_)));
    }
}
