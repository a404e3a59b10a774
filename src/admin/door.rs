//! The sockets of the control interface: opened at start, before any runtime, so that errors come at once.

use std::fs::Metadata;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use rustix::fs::Mode;
use socket2::{Domain, SockAddr, Socket, Type};

use super::guard::Place;
use super::locks::{LockError, Locks};
use crate::net::Address;

/// Connections that wait to be accepted.
const BACKLOG: i32 = 128;

/// A bound socket and who may ask through it.
#[derive(Debug)]
pub struct Door {
    pub(super) listener: Listener,
    pub(super) place: Place,
    pub(super) reach: Reach,
    pub(super) locks: Arc<ArcSwap<Locks>>,
}

/// What can be asked through a door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Metrics and probes.
    ReadOnly,
    /// Orders too.
    Control,
}

#[derive(Debug)]
pub(super) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener, SocketFile),
}

/// Why a door cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("cannot listen on {address}: {source}")]
    Listen { address: String, source: io::Error },
    #[error("cannot look up {address}: {source}")]
    LookUp { address: String, source: io::Error },
    #[error(
        "{0} is no loopback address: others can ask there only with `admin.token` or `admin.tls.client_auth`"
    )]
    NotGuarded(SocketAddr),
    #[error(transparent)]
    Lock(LockError),
    #[error("another process answers on {}", .0.display())]
    InUse(PathBuf),
    #[error("{} is there already and is not a socket", .0.display())]
    NotSocket(PathBuf),
}

impl Door {
    /// The door of `observability.metrics.address`: read-only, open to whoever can connect.
    pub fn metrics(address: &Address) -> Result<Self, OpenError> {
        let listener = match address {
            Address::Unix(path) => open_unix(path)?,
            address => open_tcp(look_up(address)?)?,
        };
        Ok(Self { listener, place: Place::Own, reach: Reach::ReadOnly, locks: Arc::default() })
    }

    /// The door of `admin.address`: TCP, or a unix socket for this user alone; `admin.sock` in `run_directory` when none is
    /// written. Off loopback `wanted`, which `locks` will hold, must ask for something.
    pub fn admin(
        address: Option<&Address>,
        locks: &Arc<ArcSwap<Locks>>,
        wanted: &Locks,
        run_directory: &Path,
    ) -> Result<Self, OpenError> {
        let (listener, place) = match address {
            None => (open_unix(&run_directory.join("admin.sock"))?, Place::Own),
            Some(Address::Unix(path)) => (open_unix(path)?, Place::Own),
            Some(address) => {
                let socket = look_up(address)?;
                if !socket.ip().is_loopback() && !wanted.guard_outside() {
                    return Err(OpenError::NotGuarded(socket));
                }
                let listener = open_tcp(socket)?;
                let place = place_of(&listener)
                    .map_err(|source| OpenError::Listen { address: address.to_string(), source })?;
                (listener, place)
            }
        };
        Ok(Self { listener, place, reach: Reach::Control, locks: Arc::clone(locks) })
    }

    /// A door that another process has opened there.
    pub fn inherit(
        fd: OwnedFd,
        address: &Address,
        reach: Reach,
        locks: &Arc<ArcSwap<Locks>>,
    ) -> io::Result<Self> {
        let listener = match address {
            Address::Unix(path) => {
                let identity = path.symlink_metadata().ok().map(|metadata| identity(&metadata));
                Listener::Unix(
                    UnixListener::from(fd),
                    SocketFile { path: path.clone(), identity, stays: Arc::default() },
                )
            }
            _ => Listener::Tcp(TcpListener::from(fd)),
        };
        let place = if reach == Reach::Control { place_of(&listener)? } else { Place::Own };
        Ok(Self { listener, place, reach, locks: Arc::clone(locks) })
    }

    /// One more descriptor of it, for another process.
    pub fn descriptor(&self) -> io::Result<OwnedFd> {
        match &self.listener {
            Listener::Tcp(listener) => Ok(listener.try_clone()?.into()),
            Listener::Unix(listener, _) => Ok(listener.try_clone()?.into()),
        }
    }

    /// Set to leave its file to another process.
    pub fn leaves_file(&self) -> Arc<AtomicBool> {
        match &self.listener {
            Listener::Tcp(_) => Arc::default(),
            Listener::Unix(_, file) => Arc::clone(&file.stays),
        }
    }

    /// Where it listens, with the port the system chose, as the log says it.
    pub fn address(&self) -> String {
        match &self.listener {
            Listener::Tcp(listener) => {
                listener.local_addr().map_or_else(|_| "tcp".to_owned(), |a| a.to_string())
            }
            Listener::Unix(_, file) => format!("unix:{}", file.path.display()),
        }
    }
}

/// A host name is looked up once, by the system: `localhost` is all that makes sense here.
fn look_up(address: &Address) -> Result<SocketAddr, OpenError> {
    if let Address::Inet(socket) = address {
        return Ok(*socket);
    }
    let text = address.to_string();
    let found =
        text.to_socket_addrs().and_then(|mut found| found.next().ok_or(io::ErrorKind::NotFound.into()));
    found.map_err(|source| OpenError::LookUp { address: text, source })
}

fn open_tcp(address: SocketAddr) -> Result<Listener, OpenError> {
    let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port()));
    let opened = match bind_tcp(address) {
        // A machine without IPv6: "all addresses" are those of IPv4.
        Err(error) if address.is_ipv6() && address.ip().is_unspecified() && is_no_ipv6(&error) => {
            bind_tcp(any)
        }
        opened => opened,
    };
    opened.map(Listener::Tcp).map_err(|source| OpenError::Listen { address: address.to_string(), source })
}

fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() && address.ip().is_unspecified() {
        socket.set_only_v6(false)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

fn is_no_ipv6(error: &io::Error) -> bool {
    let errno = rustix::io::Errno::from_io_error(error);
    errno == Some(rustix::io::Errno::AFNOSUPPORT) || errno == Some(rustix::io::Errno::ADDRNOTAVAIL)
}

fn open_unix(path: &Path) -> Result<Listener, OpenError> {
    clear(path)?;
    let listener = bind_unix(path)
        .map_err(|source| OpenError::Listen { address: format!("unix:{}", path.display()), source })?;
    let file = SocketFile {
        path: path.to_path_buf(),
        identity: path.symlink_metadata().ok().map(|m| identity(&m)),
        stays: Arc::default(),
    };
    Ok(Listener::Unix(listener, file))
}

fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // Linux makes the socket file with the mode of the socket itself (unix(7)), so that there is no moment in which
    // others could connect, as there would be with a chmod after the bind.
    rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    socket.bind(&SockAddr::unix(path)?)?;
    rustix::fs::chmod(path, Mode::RUSR | Mode::WUSR)?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Takes away the socket of a process that is no more.
fn clear(path: &Path) -> Result<(), OpenError> {
    let Ok(there) = path.symlink_metadata() else { return Ok(()) };
    if !there.file_type().is_socket() {
        return Err(OpenError::NotSocket(path.to_path_buf()));
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
        _ => return Err(OpenError::InUse(path.to_path_buf())),
    }
    std::fs::remove_file(path)
        .map_err(|source| OpenError::Listen { address: format!("unix:{}", path.display()), source })
}

fn place_of(listener: &Listener) -> io::Result<Place> {
    let Listener::Tcp(listener) = listener else { return Ok(Place::Own) };
    let address = listener.local_addr()?;
    Ok(if address.ip().is_loopback() { Place::Loopback(address) } else { Place::Outside })
}

/// The file of a unix socket; removed with its door, unless another process has put its own there.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    identity: Option<(u64, u64)>,
    /// Another process uses it: it is not removed.
    stays: Arc<AtomicBool>,
}

fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let there = self.path.symlink_metadata().ok().map(|metadata| identity(&metadata));
        if !self.stays.load(Ordering::Relaxed) && there.is_some() && there == self.identity {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn address(text: &str) -> Address {
        text.parse().unwrap()
    }

    #[test]
    fn the_unix_socket_is_for_this_user_alone_and_goes_with_its_door() {
        let folder = tempfile::tempdir().unwrap();
        let door = Door::admin(None, &Arc::default(), &Locks::default(), folder.path()).unwrap();
        let path = folder.path().join("admin.sock");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(door.address(), format!("unix:{}", path.display()));
        drop(door);
        assert!(!path.exists());
    }

    #[test]
    fn a_socket_left_behind_is_replaced_and_a_living_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let door = Door::admin(None, &Arc::default(), &Locks::default(), folder.path()).unwrap();
        assert!(matches!(
            Door::admin(None, &Arc::default(), &Locks::default(), folder.path()),
            Err(OpenError::InUse(_))
        ));
        drop(door);
        std::fs::write(&path, "text").unwrap();
        assert!(matches!(
            Door::admin(None, &Arc::default(), &Locks::default(), folder.path()),
            Err(OpenError::NotSocket(_))
        ));
    }

    #[test]
    fn off_loopback_the_door_opens_only_with_a_lock() {
        let folder = tempfile::tempdir().unwrap();
        let open = |text: &str, locks: &Arc<ArcSwap<Locks>>| {
            Door::admin(Some(&address(text)), locks, &locks.load(), folder.path())
        };
        let none = Arc::default();
        let error = open("0.0.0.0:0", &none).unwrap_err().to_string();
        assert!(error.contains("only with `admin.token` or `admin.tls.client_auth`"), "{error}");
        let door = open("localhost:0", &none).unwrap();
        assert!(matches!(door.place, Place::Loopback(address) if address.port() != 0));
        let path = folder.path().join("token");
        std::fs::write(&path, "0123456789abcdef").unwrap();
        let token = Some(crate::pool::spec::SecretSpec { file: path });
        let spec = crate::config::file::AdminSpec { token, ..Default::default() };
        let locks = Arc::new(ArcSwap::from_pointee(Locks::read(&spec).unwrap()));
        assert_eq!(open("0.0.0.0:0", &locks).unwrap().place, Place::Outside);
    }

    #[test]
    fn an_address_that_is_taken_is_named() {
        let first = Door::metrics(&address("127.0.0.1:0")).unwrap();
        let taken = address(&first.address());
        let error = Door::metrics(&taken).unwrap_err().to_string();
        assert!(error.starts_with(&format!("cannot listen on {taken}: ")), "{error}");
    }
}
