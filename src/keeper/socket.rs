//! The listening sockets of workers, by path. The keeper holds them, and never accepts.
//!
//! Connections queue while a worker restarts, since the socket outlives it. Files are left behind: whoever chose the path
//! removes them.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

/// Connections that wait to be accepted, as Node has it; the kernel lowers it to net.core.somaxconn.
const BACKLOG: i32 = 511;

/// The sockets that are held.
#[derive(Debug, Default)]
pub(super) struct Sockets(HashMap<PathBuf, Held>);

#[derive(Debug)]
struct Held {
    socket: OwnedFd,
    /// Device and inode of its file.
    identity: (u64, u64),
}

/// What is at a path.
enum Found {
    Nothing,
    /// The file of this socket.
    Held,
    /// A socket on which nobody answers.
    Stale,
    Taken,
}

impl Sockets {
    /// One more descriptor of the socket at `path`, which is bound first unless it is held already.
    pub(super) fn open(&mut self, path: &Path) -> Result<OwnedFd, String> {
        let failed = |error: io::Error| format!("cannot listen on {}: {error}", path.display());
        let address = SocketAddrUnix::new(path).map_err(|_| {
            format!("`{}` is longer than a unix socket's path may be (107 bytes)", path.display())
        })?;
        let held = self.0.get(path);
        match (find(path, &address, held).map_err(failed)?, held) {
            // Or a worker that could not use what it was given has bound the path itself.
            (Found::Held | Found::Taken, Some(held)) => return held.socket.try_clone().map_err(failed),
            (Found::Taken, None) => return Err(format!("`{}` is taken by another program", path.display())),
            (Found::Stale, _) => fs::remove_file(path).map_err(failed)?,
            (Found::Nothing | Found::Held, _) => {}
        }
        let bound = bind(path, &address).map_err(failed)?;
        let share = bound.socket.try_clone().map_err(failed)?;
        self.0.insert(path.to_owned(), bound);
        Ok(share)
    }

    /// Lets go of the socket at `path`. Workers that have it still listen.
    pub(super) fn close(&mut self, path: &Path) {
        self.0.remove(path);
    }
}

fn find(path: &Path, address: &SocketAddrUnix, held: Option<&Held>) -> io::Result<Found> {
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(error) => return Err(error),
    };
    if held.is_some_and(|held| held.identity == (metadata.dev(), metadata.ino())) {
        return Ok(Found::Held);
    }
    if !metadata.file_type().is_socket() {
        return Ok(Found::Taken);
    }
    // A full queue must not make us wait.
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let probe = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    match rustix::net::connect(&probe, address) {
        Err(Errno::CONNREFUSED) => Ok(Found::Stale),
        Err(Errno::NOENT) => Ok(Found::Nothing),
        _ => Ok(Found::Taken),
    }
}

fn bind(path: &Path, address: &SocketAddrUnix) -> io::Result<Held> {
    // Blocking, as programs expect of a socket they are handed; Node changes that for itself.
    let socket =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    // On Linux the file takes the mode of the unbound socket, less the umask: so it is never wider than it should be. Only
    // Lintel connects, and as root it may in any case; a worker under another user needs the descriptor alone.
    rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    rustix::net::bind(&socket, address)?;
    rustix::net::listen(&socket, BACKLOG)?;
    let metadata = fs::symlink_metadata(path)?;
    Ok(Held { socket, identity: (metadata.dev(), metadata.ino()) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::{UnixListener, UnixStream};

    fn accepts(socket: &OwnedFd, path: &Path) -> bool {
        let _client = UnixStream::connect(path).unwrap();
        let socket = socket.try_clone().unwrap();
        rustix::io::ioctl_fionbio(&socket, true).unwrap();
        rustix::net::accept(&socket).is_ok()
    }

    #[test]
    fn a_socket_is_bound_once_for_its_owner_alone_and_held_until_closed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("0.sock");
        let mut sockets = Sockets::default();
        let first = sockets.open(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let second = sockets.open(&path).unwrap();
        assert!(accepts(&first, &path) && accepts(&second, &path));
        drop((first, second));
        let _queued = UnixStream::connect(&path).unwrap();
        sockets.close(&path);
        assert_eq!(UnixStream::connect(&path).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        // What is left of it is stale, and no hindrance.
        assert!(accepts(&sockets.open(&path).unwrap(), &path));
    }

    #[test]
    fn a_file_that_went_away_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("0.sock");
        let mut sockets = Sockets::default();
        sockets.open(&path).unwrap();
        fs::remove_file(&path).unwrap();
        assert!(accepts(&sockets.open(&path).unwrap(), &path));
    }

    #[test]
    fn what_others_have_at_the_path_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("0.sock");
        let mut sockets = Sockets::default();
        fs::write(&path, "mine").unwrap();
        assert!(sockets.open(&path).unwrap_err().contains("taken by another program"));
        fs::remove_file(&path).unwrap();
        let other = UnixListener::bind(&path).unwrap();
        assert!(sockets.open(&path).unwrap_err().contains("taken by another program"));
        drop(other);
        sockets.open(&path).unwrap();
        // A worker that binds the path itself takes it from the socket that is held, and that is no error.
        fs::remove_file(&path).unwrap();
        let _worker = UnixListener::bind(&path).unwrap();
        sockets.open(&path).unwrap();
        let long = folder.path().join("x".repeat(120));
        assert!(sockets.open(&long).unwrap_err().contains("107 bytes"));
        let nowhere = folder.path().join("none").join("0.sock");
        assert!(sockets.open(&nowhere).unwrap_err().starts_with("cannot listen on "));
    }
}
