//! One look-up of one host name: /etc/hosts first, then DNS as /etc/resolv.conf says (search, ndots), A and AAAA.
//!
//! A pool may name other name servers. Both files are read anew once they change. Nothing is cached here: `schedule`
//! decides when to ask again.

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::MetadataExt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::Query;
use hickory_resolver::proto::rr::{Name, RecordType};
use hickory_resolver::system_conf::read_system_conf;
use hickory_resolver::{Hosts, TokioResolver};
use parking_lot::Mutex;

/// What a name stands for, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Sorted, each once, never empty.
    pub addresses: Vec<IpAddr>,
    /// The shortest time to live of the records.
    pub ttl: Duration,
}

/// Why a name has no answer; reads as the reason in logs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LookUpError {
    #[error("no such name")]
    NoSuchName,
    #[error("the name has no address")]
    NoAddress,
    #[error("name servers did not answer in time")]
    Timeout,
    #[error("cannot read /etc/resolv.conf: {0}")]
    Config(String),
    #[error("{0}")]
    Failed(String),
}

/// A look-up under way.
pub type LookingUp = Pin<Box<dyn Future<Output = Result<Answer, LookUpError>> + Send>>;
/// Looks a host name up; the edge to the network, scripted in tests.
pub type LookUp = Arc<dyn Fn(&str) -> LookingUp + Send + Sync>;

const HOSTS: &str = "/etc/hosts";
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// /etc/hosts has no TTL; the caller's `max_ttl` decides.
const HOSTS_TTL: Duration = Duration::from_secs(24 * 3600);

impl Answer {
    /// Sorts the addresses and drops repeated ones; an answer without any is an error.
    pub fn of(addresses: impl IntoIterator<Item = IpAddr>, ttl: Duration) -> Result<Self, LookUpError> {
        let mut addresses: Vec<IpAddr> = addresses.into_iter().collect();
        addresses.sort_unstable();
        addresses.dedup();
        if addresses.is_empty() { Err(LookUpError::NoAddress) } else { Ok(Self { addresses, ttl }) }
    }
}

/// Look-ups the way this machine is set up.
pub fn system() -> LookUp {
    asking(Vec::new())
}

/// The same, but these name servers are asked where there are any, instead of those of /etc/resolv.conf.
pub fn asking(name_servers: Vec<SocketAddr>) -> LookUp {
    let loaded: Arc<Mutex<Option<Loaded>>> = Arc::default();
    Arc::new(move |name| {
        let stamps = [stamp(HOSTS), stamp(RESOLV_CONF)];
        let current = {
            let mut loaded = loaded.lock();
            match &*loaded {
                Some(current) if current.stamps == stamps => current.clone(),
                _ => loaded.insert(Loaded::read(stamps, &name_servers)).clone(),
            }
        };
        let name = name.to_owned();
        Box::pin(async move { current.look_up(&name).await })
    })
}

/// Enough of a file's state to see that it changed.
type Stamp = Option<(i64, i64, u64, u64)>;

fn stamp(path: &str) -> Stamp {
    let file = std::fs::metadata(path).ok()?;
    Some((file.mtime(), file.mtime_nsec(), file.len(), file.ino()))
}

/// Both files as last read.
#[derive(Clone)]
struct Loaded {
    stamps: [Stamp; 2],
    hosts: Arc<Hosts>,
    resolver: Result<TokioResolver, LookUpError>,
}

impl Loaded {
    fn read(stamps: [Stamp; 2], name_servers: &[SocketAddr]) -> Self {
        let hosts = Hosts::from_system().unwrap_or_else(|error| {
            tracing::debug!(%error, "cannot read {HOSTS}");
            Hosts::default()
        });
        let resolver = configured(read_system_conf(), name_servers)
            .and_then(|(config, options)| resolver(config, options))
            .map_err(|error| LookUpError::Config(text(&error)));
        Self { stamps, hosts: Arc::new(hosts), resolver }
    }

    async fn look_up(&self, name: &str) -> Result<Answer, LookUpError> {
        if let Some(addresses) = fixed(&self.hosts, name) {
            return Answer::of(addresses, HOSTS_TTL);
        }
        let resolver = self.resolver.as_ref().map_err(Clone::clone)?;
        let found = resolver.lookup_ip(name).await.map_err(|error| explain(&error))?;
        Answer::of(found.iter(), found.valid_until().saturating_duration_since(Instant::now()))
    }
}

/// What /etc/resolv.conf says, but for the servers where others are named; those need no such file.
fn configured(
    system: Result<(ResolverConfig, ResolverOpts), NetError>,
    name_servers: &[SocketAddr],
) -> Result<(ResolverConfig, ResolverOpts), NetError> {
    if name_servers.is_empty() {
        return system;
    }
    let (config, options) = system.unwrap_or_default();
    let (domain, search, _) = config.into_parts();
    let name_servers = name_servers.iter().map(name_server).collect();
    Ok((ResolverConfig::from_parts(domain, search, name_servers), options))
}

fn name_server(address: &SocketAddr) -> NameServerConfig {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = address.port();
        connection
    });
    NameServerConfig::new(address.ip(), true, connections.into())
}

fn resolver(config: ResolverConfig, mut options: ResolverOpts) -> Result<TokioResolver, NetError> {
    // `fixed` has looked already; asked per family, the hosts file would send half of each name to DNS.
    options.use_hosts_file = ResolveHosts::Never;
    options.cache_size = 0;
    // resolv.conf(5): the domain, which may be made up from the host's own name, counts only without a search list.
    let (domain, search, name_servers) = config.into_parts();
    let domain = domain.filter(|_| search.is_empty());
    let config = ResolverConfig::from_parts(domain, search, name_servers);
    TokioResolver::builder_with_config(config, TokioRuntimeProvider::default()).with_options(options).build()
}

/// What needs no DNS: names of the hosts file, and localhost (RFC 6761 section 6.3).
fn fixed(hosts: &Hosts, name: &str) -> Option<Vec<IpAddr>> {
    let parsed = Name::from_utf8(name).ok()?;
    let addresses: Vec<IpAddr> = [RecordType::A, RecordType::AAAA]
        .into_iter()
        .filter_map(|family| hosts.lookup_static_host(&Query::query(parsed.clone(), family)))
        .flat_map(|found| {
            found.answers().iter().filter_map(|record| record.data.ip_addr()).collect::<Vec<_>>()
        })
        .collect();
    if !addresses.is_empty() {
        return Some(addresses);
    }
    let bare = name.strip_suffix('.').unwrap_or(name);
    (bare == "localhost" || bare.ends_with(".localhost"))
        .then(|| vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()])
}

fn explain(error: &NetError) -> LookUpError {
    match error {
        error if error.is_nx_domain() => LookUpError::NoSuchName,
        error if error.is_no_records_found() => LookUpError::NoAddress,
        NetError::Timeout => LookUpError::Timeout,
        NetError::Dns(DnsError::ResponseCode(code)) => {
            LookUpError::Failed(format!("the name server answered {code}"))
        }
        error => LookUpError::Failed(text(error)),
    }
}

fn text(error: &NetError) -> String {
    match error {
        NetError::Io(error) => error.to_string(),
        error => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::UdpSocket;

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// A name server on loopback: `app.test` has two A and an AAAA, `v4.test` an A alone, `void.test` no address,
    /// `broken.test` fails; any other name does not exist.
    async fn listening() -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        tokio::spawn(async move {
            let mut packet = [0; 512];
            loop {
                let (length, from) = socket.recv_from(&mut packet).await.unwrap();
                socket.send_to(&answer(&packet[..length]), from).await.unwrap();
            }
        });
        address
    }

    /// The bytes of an answer (RFC 1035 section 4.1) to the one question of a query.
    fn answer(query: &[u8]) -> Vec<u8> {
        let mut name = String::new();
        let mut at = 12;
        while query[at] != 0 {
            let length = usize::from(query[at]);
            name += std::str::from_utf8(&query[at + 1..at + 1 + length]).unwrap();
            name.push('.');
            at += 1 + length;
        }
        let question = &query[12..at + 5];
        let ipv6 = query[at + 2] == 28;
        let records: Vec<(u32, IpAddr)> = match (name.as_str(), ipv6) {
            ("app.test.", false) => vec![(30, ip("10.0.0.9")), (7, ip("10.0.0.7"))],
            ("app.test.", true) => vec![(300, ip("fd00::1"))],
            ("v4.test.", false) => vec![(60, ip("10.0.0.4"))],
            _ => Vec::new(),
        };
        let code = match name.as_str() {
            "app.test." | "v4.test." | "void.test." => 0,
            "broken.test." => 2,
            _ => 3,
        };
        let mut reply = query[..2].to_vec();
        reply.extend([0x81, 0x80 | code, 0, 1, 0, records.len() as u8, 0, 0, 0, 0]);
        reply.extend(question);
        for (ttl, address) in records {
            let bytes = match address {
                IpAddr::V4(ip) => ip.octets().to_vec(),
                IpAddr::V6(ip) => ip.octets().to_vec(),
            };
            reply.extend([0xc0, 12]);
            reply.extend(&question[question.len() - 4..]);
            reply.extend(ttl.to_be_bytes());
            reply.extend((bytes.len() as u16).to_be_bytes());
            reply.extend(bytes);
        }
        reply
    }

    /// As on a machine with this hosts file, and a resolv.conf with `search test` and that name server.
    async fn machine(hosts: &str) -> Loaded {
        let server = name_server(&listening().await);
        let search = vec![Name::from_ascii("test.").unwrap()];
        let config =
            ResolverConfig::from_parts(Some(Name::from_ascii("wrong.").unwrap()), search, vec![server]);
        let mut read = Hosts::default();
        read.read_hosts_conf(hosts.as_bytes()).unwrap();
        let resolver = Ok(resolver(config, ResolverOpts::default()).unwrap());
        Loaded { stamps: [None; 2], hosts: Arc::new(read), resolver }
    }

    #[tokio::test]
    async fn both_families_are_asked_and_the_shortest_ttl_counts() {
        let found = machine("").await.look_up("app.test").await.unwrap();
        assert_eq!(found.addresses, [ip("10.0.0.7"), ip("10.0.0.9"), ip("fd00::1")]);
        assert!(found.ttl > Duration::from_secs(5) && found.ttl <= Duration::from_secs(7), "{:?}", found.ttl);
    }

    #[tokio::test]
    async fn name_servers_of_a_pool_are_asked_with_or_without_a_resolv_conf() {
        let address = listening().await;
        let silent: SocketAddr = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let search = vec![Name::from_ascii("test.").unwrap()];
        let file = ResolverConfig::from_parts(None, search, vec![name_server(&silent)]);
        for (system, name) in
            [(Ok((file, ResolverOpts::default())), "v4"), (Err(NetError::from("no such file")), "v4.test.")]
        {
            let (config, options) = configured(system, &[address]).unwrap();
            let resolver = resolver(config, options);
            let read = Loaded { stamps: [None; 2], hosts: Arc::default(), resolver: Ok(resolver.unwrap()) };
            assert_eq!(read.look_up(name).await.unwrap().addresses, [ip("10.0.0.4")], "{name}");
        }
        assert!(configured(Err(NetError::from("no such file")), &[]).is_err());
    }

    #[tokio::test]
    async fn a_name_of_one_label_goes_through_the_search_list() {
        let machine = machine("").await;
        assert_eq!(machine.look_up("app").await.unwrap().addresses.len(), 3);
        assert_eq!(machine.look_up("v4").await.unwrap().addresses, [ip("10.0.0.4")]);
    }

    #[tokio::test]
    async fn a_name_without_an_answer_says_why() {
        let machine = machine("").await;
        assert_eq!(machine.look_up("void.test.").await, Err(LookUpError::NoAddress));
        assert_eq!(machine.look_up("other.test").await, Err(LookUpError::NoSuchName));
        let broken = machine.look_up("broken.test.").await.unwrap_err().to_string();
        assert!(broken.starts_with("the name server answered"), "{broken}");
    }

    #[tokio::test]
    async fn the_hosts_file_comes_first_and_is_the_whole_answer() {
        let machine = machine("10.1.1.1 app.test app\n10.1.1.2 app\n").await;
        assert_eq!(machine.look_up("app.test").await.unwrap().addresses, [ip("10.1.1.1")]);
        assert_eq!(machine.look_up("app").await.unwrap().addresses, [ip("10.1.1.1"), ip("10.1.1.2")]);
    }

    #[tokio::test]
    async fn localhost_needs_no_file_and_no_server() {
        let bare = Loaded {
            stamps: [None; 2],
            hosts: Arc::default(),
            resolver: Err(LookUpError::Config("no nameservers found".into())),
        };
        assert_eq!(bare.look_up("localhost").await.unwrap().addresses, [ip("127.0.0.1"), ip("::1")]);
        assert_eq!(bare.look_up("a.localhost").await.unwrap().addresses.len(), 2);
        assert_eq!(
            bare.look_up("app").await.unwrap_err().to_string(),
            "cannot read /etc/resolv.conf: no nameservers found"
        );
    }

    #[tokio::test]
    async fn the_system_knows_localhost() {
        let addresses = system()("localhost").await.unwrap().addresses;
        assert!(!addresses.is_empty() && addresses.iter().all(IpAddr::is_loopback), "{addresses:?}");
    }
}
