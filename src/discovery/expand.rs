//! The servers of a pool from its list as written and the answers of the moment.
//!
//! Each address of a host name is a server of its own. A server that was there before stays the same one,
//! with its health, load and latency; the order is that of the file, then of the addresses.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::net::{Address, Endpoint};
use crate::server::{Server, Spec};

/// Addresses of each host name of a pool, sorted; a name without an answer so far is absent.
pub type Answers = BTreeMap<String, Vec<IpAddr>>;

/// The pool's servers now. `build` makes a server that is not among `known`, from identity, endpoint and Spec.
pub fn expand(
    specs: &[Spec],
    answers: &Answers,
    known: &[Arc<Server>],
    mut build: impl FnMut(Arc<str>, Endpoint, &Spec) -> Arc<Server>,
) -> Vec<Arc<Server>> {
    let known: HashMap<&str, &Arc<Server>> = known.iter().map(|server| (&*server.identity, server)).collect();
    let mut seen = HashSet::new();
    let mut servers = Vec::with_capacity(specs.len());
    for spec in specs {
        for (identity, endpoint) in endpoints(&spec.address, answers) {
            if !seen.insert(identity.clone()) {
                continue;
            }
            // A server with another weight is the same server.
            let is_same = |s: &&&Arc<Server>| {
                (&s.spec.address, s.spec.backup, &s.endpoint) == (&spec.address, spec.backup, &endpoint)
            };
            let same = known.get(identity.as_str()).filter(is_same);
            servers.push(match same {
                Some(server) => Arc::clone(server),
                None => build(identity.into(), endpoint, spec),
            });
        }
    }
    servers
}

/// The host names among the addresses of a pool, each once.
pub fn host_names(specs: &[Spec]) -> Vec<String> {
    let mut names: Vec<String> = specs
        .iter()
        .filter_map(|spec| match &spec.address {
            Address::Host { name, .. } => Some(name.clone()),
            Address::Inet(_) | Address::Unix(_) => None,
        })
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// The addresses that host names have had.
pub fn answers_of(servers: &[Arc<Server>]) -> Answers {
    let mut answers = Answers::new();
    for server in servers {
        if let (Address::Host { name, .. }, Endpoint::Inet(address)) =
            (&server.spec.address, &server.endpoint)
        {
            let addresses = answers.entry(name.clone()).or_default();
            if !addresses.contains(&address.ip()) {
                addresses.push(address.ip());
            }
        }
    }
    answers
}

/// Identities and endpoints that one written address stands for.
fn endpoints(address: &Address, answers: &Answers) -> Vec<(String, Endpoint)> {
    match address {
        Address::Inet(socket) => vec![(address.to_string(), Endpoint::Inet(*socket))],
        Address::Unix(path) => vec![(address.to_string(), Endpoint::Unix(path.clone()))],
        Address::Host { name, port } => answers
            .get(name)
            .into_iter()
            .flatten()
            .map(|ip| (format!("{address}/{ip}"), Endpoint::Inet(SocketAddr::new(*ip, *port))))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::metrics::ServerMetrics;

    fn specs(json: &str) -> Vec<Spec> {
        serde_json::from_str(json).unwrap()
    }

    fn answers(pairs: &[(&str, &[&str])]) -> Answers {
        pairs
            .iter()
            .map(|(name, ips)| ((*name).to_owned(), ips.iter().map(|ip| ip.parse().unwrap()).collect()))
            .collect()
    }

    fn build(identity: Arc<str>, endpoint: Endpoint, spec: &Spec) -> Arc<Server> {
        Arc::new(Server::new("web".into(), identity, endpoint, spec.clone(), ServerMetrics::default()))
    }

    fn identities(servers: &[Arc<Server>]) -> Vec<&str> {
        servers.iter().map(|server| &*server.identity).collect()
    }

    #[test]
    fn each_address_of_a_name_is_a_server_of_its_own() {
        let specs = specs(
            r#"[{ "address": "app.internal:3000", "weight": 2 }, { "address": "unix:/run/a.sock" },
                { "address": "10.0.0.1:80" }, { "address": "later.internal:1" }]"#,
        );
        let servers = expand(&specs, &answers(&[("app.internal", &["10.0.0.7", "::1"])]), &[], build);
        assert_eq!(
            identities(&servers),
            ["app.internal:3000/10.0.0.7", "app.internal:3000/::1", "unix:/run/a.sock", "10.0.0.1:80"]
        );
        assert_eq!(servers[1].endpoint.to_string(), "[::1]:3000");
        assert_eq!(servers[1].spec.weight, 2);
        assert_eq!(host_names(&specs), ["app.internal", "later.internal"]);
    }

    #[test]
    fn a_server_that_was_there_before_stays_the_same() {
        let specs = specs(r#"[{ "address": "app:3000" }, { "address": "10.0.0.1:80" }]"#);
        let before = expand(&specs, &answers(&[("app", &["10.0.0.7", "10.0.0.8"])]), &[], build);
        let after = expand(&specs, &answers(&[("app", &["10.0.0.8", "10.0.0.9"])]), &before, build);
        assert_eq!(identities(&after), ["app:3000/10.0.0.8", "app:3000/10.0.0.9", "10.0.0.1:80"]);
        assert!(Arc::ptr_eq(&after[0], &before[1]));
        assert!(Arc::ptr_eq(&after[2], &before[2]));
        assert!(after.iter().all(|server| server.id != before[0].id));
    }

    #[test]
    fn a_server_with_another_weight_is_the_same_and_one_that_becomes_a_backup_is_another() {
        let one = specs(r#"[{ "address": "10.0.0.1:80" }]"#);
        let two = specs(r#"[{ "address": "10.0.0.1:80", "weight": 3 }]"#);
        let before = expand(&one, &Answers::new(), &[], build);
        let after = expand(&two, &Answers::new(), &before, build);
        assert_eq!(after[0].id, before[0].id);
        let backup = specs(r#"[{ "address": "10.0.0.1:80", "backup": true }]"#);
        assert_ne!(expand(&backup, &Answers::new(), &before, build)[0].id, before[0].id);
    }

    #[test]
    fn an_address_written_twice_is_one_server() {
        let specs = specs(r#"[{ "address": "app:3000" }, { "address": "app:3000" }]"#);
        assert_eq!(expand(&specs, &answers(&[("app", &["10.0.0.7"])]), &[], build).len(), 1);
    }
}
