//! Sockets that are open already when the program starts: from systemd (sd_listen_fds(3)), or from the Lintel before.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use arc_swap::ArcSwap;
use listenfd::ListenFd;

use crate::admin::{Door, Locks};
use crate::admin::door::Reach;
use crate::listener::Socket;
use crate::net::Address;

/// What nobody has taken yet.
#[derive(Debug, Default)]
pub struct Inherited {
    sockets: Vec<Passed>,
}

#[derive(Debug)]
struct Passed {
    kind: Kind,
    /// Name of the listener or door; of systemd's FileDescriptorName.
    name: String,
    /// As the one before had it written; `None` from systemd.
    address: Option<Address>,
    descriptor: OwnedFd,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Listener,
    Door,
}

impl Inherited {
    /// What systemd passes, by LISTEN_FDS and LISTEN_FDNAMES; those variables go no further.
    pub fn from_environment() -> Self {
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':').map(str::to_owned);
        let mut listening = ListenFd::from_env();
        let mut sockets = Vec::new();
        for index in 0..listening.len() {
            let name = names.next().unwrap_or_default();
            let inet = listening.take_tcp_listener(index).ok().flatten().map(OwnedFd::from);
            let descriptor = inet.or_else(|| listening.take_unix_listener(index).ok().flatten().map(OwnedFd::from));
            match descriptor {
                Some(descriptor) => {
                    sockets.push(Passed { kind: Kind::Listener, name, address: None, descriptor });
                }
                None => tracing::warn!(name, "what was passed as a socket is none that can be listened on"),
            }
        }
        Self { sockets }
    }

    pub fn add(&mut self, kind: Kind, name: String, address: Address, descriptor: OwnedFd) {
        self.sockets.push(Passed { kind, name, address: Some(address), descriptor });
    }

    /// The socket for a listener: one that was passed under its name or is bound to its address.
    pub fn socket(&mut self, name: &str, address: &Address) -> Option<Socket> {
        let fits = |passed: &Passed| match &passed.address {
            Some(known) => known == address && (passed.name == name || has_port(address)),
            None => passed.name == name || is_bound_to(&passed.descriptor, address),
        };
        let place = self.sockets.iter().position(|passed| passed.kind == Kind::Listener && fits(passed))?;
        match Socket::inherit(self.sockets.swap_remove(place).descriptor, address) {
            Ok(socket) => Some(socket),
            Err(error) => {
                tracing::warn!(listener = name, %error, "the socket that was passed on cannot be used");
                None
            }
        }
    }

    pub fn door(
        &mut self,
        name: &str,
        address: &Address,
        locks: &Arc<ArcSwap<Locks>>,
    ) -> Option<Door> {
        let fits = |passed: &Passed| {
            passed.kind == Kind::Door
                && passed.name == name
                && passed.address.as_ref().is_some_and(|known| is_same_place(known, address))
        };
        let place = self.sockets.iter().position(fits)?;
        let reach = if name == "admin" { Reach::Control } else { Reach::ReadOnly };
        Door::inherit(self.sockets.swap_remove(place).descriptor, address, reach, locks).ok()
    }

    /// Names of what nobody wanted.
    pub fn left(&self, kind: Kind) -> Vec<String> {
        let left = self.sockets.iter().filter(|passed| passed.kind == kind);
        left.map(|passed| passed.name.clone()).collect()
    }
}

/// With port 0 several listeners are written alike.
fn has_port(address: &Address) -> bool {
    !matches!(address, Address::Inet(address) if address.port() == 0)
}

fn is_bound_to(descriptor: &OwnedFd, address: &Address) -> bool {
    let Ok(local) = socket2::SockRef::from(descriptor).local_addr() else { return false };
    match address {
        Address::Inet(address) => local.as_socket() == Some(*address),
        Address::Unix(path) => local.as_pathname() == Some(path),
        Address::Host { .. } => false,
    }
}

/// A door is known by what it is bound to: `:0` and names are other words for that.
fn is_same_place(bound: &Address, written: &Address) -> bool {
    match (bound, written) {
        (Address::Inet(bound), Address::Inet(written)) => {
            bound == written || written.port() == 0 && bound.ip() == written.ip()
        }
        (Address::Inet(bound), Address::Host { port, .. }) => bound.port() == *port,
        (bound, written) => bound == written,
    }
}
