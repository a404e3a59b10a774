//! Whose word about a client is believed: the networks under `trusted_proxies`.
//!
//! What such a peer says, in a PROXY header or in X-Forwarded-*, is read elsewhere, and only with the proof made here.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// The networks of `trusted_proxies`, compiled. An IPv4-mapped IPv6 address is the IPv4 address in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trusted {
    v4: Vec<Ipv4Net>,
    v6: Vec<Ipv6Net>,
    everyone: bool,
}

/// Proof that the peer of a connection is in `trusted_proxies`; made by [`Trusted::vouch_for`] alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrustedPeer(());

impl Trusted {
    pub fn compile(nets: &[IpNet]) -> Self {
        let mut trusted = Self::default();
        for net in nets {
            match net {
                IpNet::V4(net) => trusted.v4.push(net.trunc()),
                IpNet::V6(net) => match mapped(*net) {
                    Some(net) => trusted.v4.push(net),
                    None => trusted.v6.push(net.trunc()),
                },
            }
            // Every IPv6 network wider than the mapped addresses holds them all, but nobody who writes `2000::/3` means them.
            trusted.everyone |= net.prefix_len() == 0;
        }
        trusted
    }

    /// Whether anybody is trusted.
    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    /// Whether `address` is in one of the networks.
    pub fn contains(&self, address: IpAddr) -> bool {
        match address.to_canonical() {
            IpAddr::V4(address) => self.v4.iter().any(|net| net.contains(&address)),
            IpAddr::V6(address) => self.v6.iter().any(|net| net.contains(&address)),
        }
    }

    /// The proof that `peer` may speak for its clients. The peer of a unix socket has no address: it is trusted only
    /// where everyone is (`0.0.0.0/0` or `::/0`).
    pub fn vouch_for(&self, peer: Option<IpAddr>) -> Option<TrustedPeer> {
        let trusted = peer.map_or(self.everyone, |address| self.contains(address));
        trusted.then_some(TrustedPeer(()))
    }
}

/// The IPv4 network that `::ffff:a.b.c.d/n` stands for.
fn mapped(net: Ipv6Net) -> Option<Ipv4Net> {
    let prefix = net.prefix_len().checked_sub(96)?;
    Ipv4Net::new(net.network().to_ipv4_mapped()?, prefix).ok().map(|net| net.trunc())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trusted(nets: &[&str]) -> Trusted {
        Trusted::compile(&nets.iter().map(|net| net.parse().unwrap()).collect::<Vec<_>>())
    }

    #[test]
    fn addresses_are_compared_whichever_family_they_come_in() {
        let trusted = trusted(&["10.0.0.0/8", "::ffff:192.168.7.0/120", "2001:db8::/32"]);
        let table = [
            ("10.1.2.3", true),
            ("::ffff:10.1.2.3", true),
            ("11.0.0.1", false),
            ("192.168.7.9", true),
            ("::ffff:192.168.7.9", true),
            ("192.168.8.9", false),
            ("2001:db8::7", true),
            ("2001:db9::7", false),
            ("::1", false),
        ];
        for (address, expected) in table {
            let address: IpAddr = address.parse().unwrap();
            assert_eq!(trusted.contains(address), expected, "{address}");
            assert_eq!(trusted.vouch_for(Some(address)).is_some(), expected, "{address}");
        }
    }

    #[test]
    fn nobody_is_trusted_unless_written_and_a_unix_peer_only_with_everyone() {
        let nobody = Trusted::compile(&[]);
        assert!(nobody.is_empty() && nobody.vouch_for(Some(IpAddr::from([127, 0, 0, 1]))).is_none());
        assert!(nobody.vouch_for(None).is_none());
        assert!(trusted(&["10.0.0.0/8"]).vouch_for(None).is_none());
        assert!(trusted(&["::/0"]).vouch_for(None).is_some());
        assert!(trusted(&["0.0.0.0/0"]).vouch_for(None).is_some());
    }
}
