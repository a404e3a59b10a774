//! Listeners, and the other addresses that Lintel listens on.

use std::net::SocketAddr;

use super::Checker;
use crate::listener::Spec;
use crate::listener::spec::{Http2Limits, Protocol, ProxyProtocol};
use crate::net::Address;
use crate::units::Bytes;

pub fn check(checker: &mut Checker<'_>) {
    let listeners = &checker.file.listeners;
    if listeners.is_empty() {
        checker.problem("listeners", "there is no listener", "write one: `http: { address: \":8080\" }`");
    }
    checker.names("listeners", listeners);
    for (name, spec) in listeners {
        let at = |key: &str| format!("listeners.{name}.{key}");
        local(checker, &at("address"), &spec.address);
        redirect(checker, name, spec);
        protocols(checker, &at("protocols"), spec);
        if spec.proxy_protocol == ProxyProtocol::Required && spec.trusted_proxies.is_empty() {
            checker.problem(
                &at("proxy_protocol"),
                "nobody may send a PROXY header: `trusted_proxies` is empty",
                "write the networks of your proxies under `trusted_proxies`",
            );
        }
        if spec.tls.as_ref().is_some_and(|tls| tls.certificates.is_empty()) {
            checker.problem(
                &at("tls.certificates"),
                "there is no certificate",
                "write `- { cert: ..., key: ... }`",
            );
        }
        limits(checker, name, spec);
        http2(checker, &at("limits.http2"), &spec.limits.http2);
    }
    others(checker);
    clashes(checker);
}

/// An address to listen on has no name to look up.
fn local(checker: &mut Checker<'_>, key_path: &str, address: &Address) {
    if let Address::Host { .. } = address {
        let help = "write an IP address, such as \"127.0.0.1:8080\", or \":8080\" for all";
        checker.problem(key_path, "a host name cannot be listened on", help);
    }
}

fn redirect(checker: &mut Checker<'_>, name: &str, spec: &Spec) {
    let Some(target) = &spec.redirect_to else { return };
    let key_path = format!("listeners.{name}.redirect_to");
    let listeners = &checker.file.listeners;
    if !checker.is_named("listeners", listeners, target, &key_path) {
        return;
    }
    if target == name {
        return checker.problem(&key_path, "this listener redirects to itself", "name another listener");
    }
    let Some(target) = listeners.get(target) else { return };
    if target.redirect_to.is_some() {
        checker.problem(&key_path, "that listener redirects too", "name the listener that serves");
    } else if matches!(target.address, Address::Unix(_)) {
        checker.problem(
            &key_path,
            "that listener is a unix socket, which no URL can name",
            "name one with a port",
        );
    }
}

fn protocols(checker: &mut Checker<'_>, key_path: &str, spec: &Spec) {
    let Some(protocols) = &spec.protocols else { return };
    if protocols.is_empty() {
        checker.problem(key_path, "no protocol is left", "write `[http1]`, or take the key out");
    }
    for (index, protocol) in protocols.iter().enumerate() {
        if let Some(first) = protocols.iter().take(index).position(|before| before == protocol) {
            let (again, first) = (format!("{key_path}[{index}]"), format!("{key_path}[{first}]"));
            checker.clash(
                &again,
                "this protocol is listed already",
                "take it out",
                &first,
                "is the first one",
            );
        }
    }
    if spec.tls.is_none() && spec.offers(Protocol::Http1) && spec.offers(Protocol::Http2) {
        let message = "h2c cannot be told from HTTP/1.1 on one port";
        let help = "write `[http2]` on a listener of its own, or add `tls`";
        checker.problem(key_path, message, help);
    }
}

fn limits(checker: &mut Checker<'_>, name: &str, spec: &Spec) {
    let at = |key: &str| format!("listeners.{name}.limits.{key}");
    let limits = &spec.limits;
    if let Some(connections) = limits.connections {
        checker.range(&at("connections"), connections, 1..=10_000_000);
    }
    checker.range(&at("head"), limits.head, Bytes::from_kib(1)..=Bytes::from_mib(1));
    checker.range(&at("headers"), limits.headers, 1..=1000);
    if limits.uri > limits.head {
        let written = checker.source.names(&format!("listeners.{name}.limits"), "uri");
        let (uri, head) = (checker.shown(&at("uri"), &limits.uri), checker.shown(&at("head"), &limits.head));
        let message = format!("`uri` ({uri}) is more than `head` ({head}), of which it is a part");
        checker.problem(&at(if written { "uri" } else { "head" }), message, "raise `head`, or lower `uri`");
    } else if limits.uri.count() < 64 {
        checker.problem(&at("uri"), "no URI fits in less than 64B", "raise it");
    }
}

fn http2(checker: &mut Checker<'_>, key_path: &str, limits: &Http2Limits) {
    let at = |key: &str| format!("{key_path}.{key}");
    let (least, most) = (Bytes::from_kib(64), Bytes::from_mib(16));
    checker.range(&at("streams"), limits.streams, 1..=10_000);
    checker.range(&at("stream_window"), limits.stream_window, least..=most);
    checker.range(&at("connection_window"), limits.connection_window, least..=Bytes::from_mib(256));
    checker.range(&at("resets_per_second"), limits.resets_per_second, 1..=100_000);
    checker.range(&at("control_frames_per_second"), limits.control_frames_per_second, 1..=100_000);
    if limits.stream_window > limits.connection_window && limits.stream_window <= most {
        let stream = checker.shown(&at("stream_window"), &limits.stream_window);
        let connection = checker.shown(&at("connection_window"), &limits.connection_window);
        let message = format!("`stream_window` ({stream}) is more than `connection_window` ({connection})");
        let written = checker.source.names(key_path, "stream_window");
        let key = if written { "stream_window" } else { "connection_window" };
        checker.problem(&at(key), message, "raise `connection_window`, or lower `stream_window`");
    }
}

/// The control interface: others than this machine's programs must show who they are.
fn admin(checker: &mut Checker<'_>) {
    let admin = &checker.file.admin;
    let client_auth = admin.tls.as_ref().and_then(|tls| tls.client_auth.as_ref());
    match &admin.address {
        Some(Address::Inet(address)) if !address.ip().is_loopback() => {
            if admin.token.is_none() && client_auth.is_none() {
                let message = "off loopback the control interface needs to know who asks";
                let help =
                    "write `admin.token.file` or `admin.tls.client_auth`, or 127.0.0.1 before the port";
                checker.problem("admin.address", message, help);
            } else if admin.tls.is_none() {
                let help = "write `admin.tls`, or have TLS end before it";
                checker.warning("admin.address", "the token crosses the network in clear", help);
            }
        }
        Some(address @ Address::Host { .. }) => local(checker, "admin.address", address),
        None | Some(Address::Unix(_)) if admin.tls.is_some() => {
            let help = "write an `admin.address` with a port, or take `tls` out";
            checker.problem("admin.tls", "a unix socket speaks no TLS", help);
        }
        _ => {}
    }
    if admin.tls.as_ref().is_some_and(|tls| tls.certificates.is_empty()) {
        checker.problem(
            "admin.tls.certificates",
            "there is no certificate",
            "write `- { cert: ..., key: ... }`",
        );
    }
}

/// The addresses that are no listeners.
fn others(checker: &mut Checker<'_>) {
    admin(checker);
    if let Some(metrics) = &checker.file.observability.metrics {
        let key_path = "observability.metrics.address";
        local(checker, key_path, &metrics.address);
        if matches!(metrics.address, Address::Unix(_)) {
            let help = "write an IP address and a port, such as \":9901\"";
            checker.problem(key_path, "Prometheus cannot ask a unix socket", help);
        }
    }
}

fn clashes(checker: &mut Checker<'_>) {
    let file = checker.file;
    let listeners =
        file.listeners.iter().map(|(name, spec)| (format!("listeners.{name}.address"), &spec.address));
    let admin = file.admin.address.iter().map(|address| ("admin.address".to_owned(), address));
    let metrics = file.observability.metrics.iter();
    let metrics = metrics.map(|spec| ("observability.metrics.address".to_owned(), &spec.address));
    let all: Vec<_> = listeners.chain(admin).chain(metrics).collect();
    // Only equal ports and equal paths can clash, so few are compared.
    let mut by_port: std::collections::HashMap<_, Vec<usize>> = std::collections::HashMap::new();
    for (index, (key_path, address)) in all.iter().enumerate() {
        let group = match address {
            Address::Inet(address) => address.port().to_string(),
            Address::Host { .. } => continue,
            Address::Unix(path) => path.display().to_string(),
        };
        let earlier = by_port.entry(group).or_default();
        if let Some(first) = earlier.iter().find(|first| overlap(all[**first].1, address)) {
            let message = format!("`{}` is listened on already", checker.shown(key_path, address));
            checker.clash(key_path, message, "choose another port", &all[*first].0, "listens there");
        }
        earlier.push(index);
    }
}

/// Whether both cannot be bound at once. An unspecified address takes its port on all addresses; on Linux `[::]` takes
/// those of IPv4 too.
fn overlap(a: &Address, b: &Address) -> bool {
    let (Address::Inet(a), Address::Inet(b)) = (a, b) else { return a == b };
    let takes = |a: &SocketAddr, b: &SocketAddr| a.ip().is_unspecified() && (a.is_ipv6() || b.is_ipv4());
    a.port() != 0 && a.port() == b.port() && (a.ip() == b.ip() || takes(a, b) || takes(b, a))
}
