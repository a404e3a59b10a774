//! Ports for programs that are told where to listen.
//!
//! They lie outside the range from which the system takes the ports of outgoing connections: one of those would keep a
//! worker from its port, and who connects to such a port while nobody listens there may reach himself.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

use socket2::{Domain, Socket, Type};

/// The first and the last port that the system gives to outgoing connections, as ip(7) describes them.
const SYSTEM_RANGE: &str = "/proc/sys/net/ipv4/ip_local_port_range";

/// Below it lie the ports that services are known by.
const FIRST_DYNAMIC: u16 = 49152;

/// A range with fewer ports is too small to be used.
const ENOUGH: usize = 1024;

/// Ports of one range, each in its turn: two workers that start at once are never told the same one.
struct Ports {
    range: Option<RangeInclusive<u16>>,
    next: AtomicU32,
}

static PORTS: LazyLock<Ports> = LazyLock::new(|| {
    let system = std::fs::read_to_string(SYSTEM_RANGE).unwrap_or_default();
    // Another Lintel on this machine begins elsewhere.
    Ports { range: beside(&system), next: AtomicU32::new(fastrand::u32(..)) }
});

/// A port on which nobody is bound, at no address of the machine.
///
/// # Errors
/// Every port is taken.
pub fn free() -> io::Result<u16> {
    PORTS.free()
}

impl Ports {
    fn free(&self) -> io::Result<u16> {
        let Some(range) = &self.range else { return bound(0) };
        let count = u32::try_from(range.len()).unwrap_or(u32::MAX);
        let mut outcome = Err(io::ErrorKind::AddrInUse.into());
        for _ in 0..count {
            let turn = self.next.fetch_add(1, Ordering::Relaxed) % count;
            outcome = bound(range.start().saturating_add(u16::try_from(turn).unwrap_or(0)));
            if outcome.is_ok() {
                break;
            }
        }
        outcome
    }
}

/// The dynamic ports (RFC 6335, section 6) that the system does not use itself: those above its range, or below it.
fn beside(system: &str) -> Option<RangeInclusive<u16>> {
    let mut ends = system.split_whitespace().map(str::parse::<u16>);
    let (Some(Ok(first)), Some(Ok(last))) = (ends.next(), ends.next()) else { return None };
    let above = last.checked_add(1).map(|start| start.max(FIRST_DYNAMIC)..=u16::MAX);
    let below = first.checked_sub(1).map(|end| FIRST_DYNAMIC..=end);
    [above, below].into_iter().flatten().find(|range| range.len() >= ENOUGH)
}

/// Binds it for a moment, at every address as programs do, and never listens there. 0 has the system choose.
fn bound(port: u16) -> io::Result<u16> {
    let everywhere: [SocketAddr; 2] =
        [(Ipv6Addr::UNSPECIFIED, port).into(), (Ipv4Addr::UNSPECIFIED, port).into()];
    let bind = |address: SocketAddr| {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        // The connections of a worker before may still linger.
        socket.set_reuse_address(true)?;
        if address.is_ipv6() {
            socket.set_only_v6(false)?;
        }
        socket.bind(&address.into())?;
        io::Result::Ok(socket)
    };
    let socket = match bind(everywhere[0]) {
        Err(error) if error.kind() != io::ErrorKind::AddrInUse => bind(everywhere[1])?,
        outcome => outcome?,
    };
    let address = socket.local_addr()?.as_socket().ok_or(io::ErrorKind::Unsupported)?;
    Ok(address.port())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn ports_lie_beside_those_of_the_system() {
        assert_eq!(beside("32768\t60999\n"), Some(61000..=65535));
        assert_eq!(beside("60000 65535"), Some(49152..=59999));
        assert_eq!(beside("10000 20000"), Some(49152..=65535));
        for without_room in ["1024 65535", "49153 65000", "", "a b", "1"] {
            assert_eq!(beside(without_room), None, "{without_room}");
        }
    }

    #[test]
    fn a_port_that_is_taken_at_any_address_is_passed_over() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        assert_eq!(bound(port).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        let only = Ports { range: Some(port..=port), next: AtomicU32::new(0) };
        assert_eq!(only.free().unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn none_is_told_twice_in_a_row() {
        let told: Vec<u16> = (0..500).map(|_| free().unwrap()).collect();
        let Some(range) = &PORTS.range else {
            eprintln!("skipped: the system's own range leaves no room, so that it chooses");
            return;
        };
        assert!(told.iter().all(|port| range.contains(port)), "{told:?}");
        assert_eq!(told.iter().collect::<HashSet<_>>().len(), told.len());
        let next = told.last().unwrap();
        assert!(TcpListener::bind(("127.0.0.1", *next)).is_ok(), "it is free");
    }
}
