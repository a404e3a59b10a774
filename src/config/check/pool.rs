//! Pools, and what their servers are asked to do.

use std::collections::{HashMap, HashSet};

use super::{Checker, text};
use crate::pool::Spec;
use crate::pool::spec::{HashKey, Protocol, StickySpec};
use crate::wire::token::is_token;
use crate::worker::spec::ReadyWhen;
use crate::{health, worker};

/// Bytes of the name of a service that a health check asks for.
const LONGEST_SERVICE: usize = 256;

pub fn check(checker: &mut Checker<'_>) {
    let pools = &checker.file.pools;
    checker.names("pools", pools);
    let used: HashSet<_> = checker.file.routes.iter().flat_map(|route| route.to.keys()).collect();
    let shared: HashSet<_> = pools.values().filter_map(|pool| pool.workers_of.as_ref()).collect();
    // With a route in doubt, nobody knows what it uses.
    let is_known = !checker.source.is_in_doubt("routes");
    for (name, spec) in pools {
        let pool = format!("pools.{name}");
        servers(checker, &pool, spec);
        tls(checker, &pool, spec);
        if let Some(check) = &spec.health_check {
            health_check(checker, &format!("{pool}.health_check"), check, spec.protocol);
        }
        numbers(checker, &pool, spec);
        hash_key(checker, &pool, &spec.balance.key);
        if let Some(StickySpec::Cookie(cookie)) = &spec.sticky {
            let fine = is_token(cookie.cookie.as_bytes());
            let help = "the name of a cookie has letters, digits, `-`, `_` and `.`";
            checker.text(&format!("{pool}.sticky.cookie"), &cookie.cookie, (!fine).then_some(help));
        }
        // A task answers nobody.
        let is_task = spec.app.as_ref().is_some_and(|app| app.task);
        if is_known && !is_task && !shared.contains(name) && !used.contains(name) {
            checker.warning(&pool, "no route uses this pool", "write a route: `- to: ...`");
        }
    }
}

fn servers(checker: &mut Checker<'_>, pool: &str, spec: &Spec) {
    if let Some(app) = &spec.app {
        self::app(checker, pool, spec, app);
    } else if let Some(other) = &spec.workers_of {
        workers_of(checker, pool, spec, other);
    } else if spec.servers.is_empty() {
        let at =
            if checker.source.names(pool, "servers") { format!("{pool}.servers") } else { pool.to_owned() };
        let help = "write `servers: [\"127.0.0.1:3000\"]`, or `app:` with a command that Lintel runs";
        checker.problem(&at, "there is no server", help);
    } else if spec.servers.iter().all(|server| server.backup) {
        let help = "take `backup` from those that are to work";
        checker.problem(&format!("{pool}.servers"), "every server is a backup", help);
    }
    let mut seen = HashMap::new();
    for (index, server) in spec.servers.iter().enumerate() {
        let key_path = format!("{pool}.servers[{index}]");
        checker.range(&format!("{key_path}.weight"), server.weight, 1..=1000);
        if let crate::net::Address::Inet(address) = server.address
            && (address.port() == 0 || address.ip().is_unspecified())
        {
            let help = "write the address of the server, such as \"127.0.0.1:3000\"";
            let key_path = format!("{key_path}.address");
            let address = checker.shown(&key_path, &address);
            checker.problem(&key_path, format!("`{address}` cannot be connected to"), help);
        }
        match seen.get(&server.address) {
            None => {
                seen.insert(&server.address, key_path);
            }
            Some(first) => {
                let address = checker.shown(&format!("{key_path}.address"), &server.address);
                let message = format!("the server `{address}` is in this pool twice");
                let help = "take one out; `weight` gives a server more work";
                checker.clash(&key_path, message, help, first, "is the first one");
            }
        }
    }
}

/// A program in place of servers.
fn app(checker: &mut Checker<'_>, pool: &str, spec: &Spec, app: &worker::Spec) {
    if !spec.servers.is_empty() {
        let help = "write one of the two; a second pool can have the other";
        checker.problem(&format!("{pool}.app"), "a pool has `servers` or an `app`, not both", help);
    }
    tls_of_workers(checker, pool, spec);
    for found in app.contradictions() {
        checker.problem(&format!("{pool}.app.{}", found.key), found.message, found.help);
    }
    if app.ready.when == ReadyWhen::Healthy && spec.health_check.is_none() && !app.task {
        let help = "write `health_check: /healthz` for the pool, or `when: listening`";
        checker.problem(&format!("{pool}.app.ready.when"), "`healthy` needs a `health_check`", help);
    }
    if app.task && spec.health_check.is_some() && checker.source.names(pool, "health_check") {
        let help = "take one of the two out";
        checker.problem(
            &format!("{pool}.health_check"),
            "a task listens to nobody and cannot be asked",
            help,
        );
    }
}

/// Workers are at sockets of Lintel's own, which have no name that a certificate could be for.
fn tls_of_workers(checker: &mut Checker<'_>, pool: &str, spec: &Spec) {
    if spec.tls.as_ref().is_some_and(|tls| tls.server_name.is_none() && !tls.insecure_skip_verify) {
        let help = "write `server_name`, which is in their certificate, or `insecure_skip_verify: true`";
        checker.problem(&format!("{pool}.tls"), "workers have no name to verify a certificate for", help);
    }
}

/// The workers of another pool in place of servers.
fn workers_of(checker: &mut Checker<'_>, pool: &str, spec: &Spec, other: &str) {
    let at = format!("{pool}.workers_of");
    if !spec.servers.is_empty() {
        checker.problem(&at, "a pool has `servers` or `workers_of`, not both", "take one of the two out");
    }
    let pools = &checker.file.pools;
    checker.is_named("pools", pools, other, &at);
    let owner = pools.get(other);
    match owner.map(|owner| owner.app.as_ref()) {
        None => {}
        Some(None) => {
            let help = "name the pool that has the `app`";
            checker.problem(&at, format!("the pool `{other}` has no `app`"), help);
        }
        Some(Some(app)) if app.task => {
            let help = "take `task` out there if it does listen";
            checker.problem(&at, format!("the workers of `{other}` are a task and listen to nobody"), help);
        }
        Some(Some(_)) => {}
    }
    tls_of_workers(checker, pool, spec);
    for (limited, spec) in [(pool.to_owned(), Some(spec)), (format!("pools.{other}"), owner)] {
        if spec.is_some_and(|spec| spec.max_in_flight.is_some()) {
            let help =
                "take it out: each pool has a queue of its own, and none hears of a place that another frees";
            let message = "workers that several pools share have no limit";
            checker.problem(&format!("{limited}.max_in_flight"), message, help);
        }
    }
}

fn tls(checker: &mut Checker<'_>, pool: &str, spec: &Spec) {
    let Some(tls) = &spec.tls else { return };
    match (&tls.cert, &tls.key) {
        (Some(_), None) => {
            checker.problem(&format!("{pool}.tls.cert"), "`cert` needs `key`", "write the file of its key")
        }
        (None, Some(_)) => {
            checker.problem(
                &format!("{pool}.tls.key"),
                "`key` needs `cert`",
                "write the file of its certificate",
            );
        }
        _ => {}
    }
    if let Some(name) = &tls.server_name {
        checker.text(&format!("{pool}.tls.server_name"), name, text::host_error(name).as_deref());
    }
    if tls.insecure_skip_verify {
        let help = "whoever is between Lintel and the servers can read and change everything; name their CA under `ca`";
        checker.warning(
            &format!("{pool}.tls.insecure_skip_verify"),
            "certificates of the servers are not verified",
            help,
        );
    }
}

fn health_check(checker: &mut Checker<'_>, key_path: &str, check: &health::Spec, protocol: Protocol) {
    let at = |key: &str| format!("{key_path}.{key}");
    question(checker, key_path, check, protocol);
    if check.timeout > check.interval {
        let key = if checker.source.names(key_path, "timeout") { "timeout" } else { "interval" };
        let timeout = checker.shown(&at("timeout"), &check.timeout);
        let interval = checker.shown(&at("interval"), &check.interval);
        let message = format!("`timeout` ({timeout}) is longer than `interval` ({interval})");
        checker.problem(&at(key), message, "a check ends before the next one begins");
    }
    for (index, status) in check.status.iter().flatten().enumerate() {
        checker.range(&at(&format!("status[{index}]")), *status, 100..=599);
    }
    if check.status.as_ref().is_some_and(Vec::is_empty) {
        checker.problem(&at("status"), "no status means healthy", "write one, such as `200`");
    }
    if let Some(host) = &check.host {
        checker.text(&at("host"), host, text::host_field_error(host).as_deref());
    }
    checker.range(&at("healthy_after"), check.healthy_after, 1..=100);
    checker.range(&at("unhealthy_after"), check.unhealthy_after, 1..=100);
}

/// What a check asks: one thing, and of servers that understand it.
fn question(checker: &mut Checker<'_>, key_path: &str, check: &health::Spec, protocol: Protocol) {
    let at = |key: &str| format!("{key_path}.{key}");
    let keys = [("path", check.path.is_some()), ("grpc", check.grpc.is_some()), ("tcp", check.tcp)];
    let asked: Vec<_> = keys.into_iter().filter_map(|(key, written)| written.then_some(key)).collect();
    match asked[..] {
        [] => {
            let help = "write `path: /healthz`, `grpc: \"\"`, or `tcp: true` to connect only";
            checker.problem(key_path, "this check has nothing to ask", help);
        }
        ["tcp"] => {
            for (key, written) in [("status", check.status.is_some()), ("host", check.host.is_some())] {
                if written {
                    let message = format!("a TCP check sends nothing, so it has no `{key}`");
                    checker.problem(&at(key), message, "take it out");
                }
            }
        }
        ["grpc"] if check.status.is_some() => {
            let message = "a gRPC check has no `status`: `SERVING` means healthy, and nothing else does";
            checker.problem(&at("status"), message, "take it out");
        }
        [_] => {}
        [.., last] => {
            let message = "a check asks for one thing: `path`, `grpc`, or `tcp: true`";
            checker.problem(&at(last), message, "leave one of them");
        }
    }
    if let Some(path) = &check.path {
        // The short form is the path itself.
        checker.text(&at("path"), path, text::request_path_error(path));
    }
    if let Some(service) = &check.grpc {
        let fine = service.len() <= LONGEST_SERVICE && !service.chars().any(char::is_control);
        let help = "the name of a service has at most 256 bytes, and no control characters";
        checker.text(&at("grpc"), service, (!fine).then_some(help));
        if protocol != Protocol::Http2 {
            let help = "write `protocol: http2` in the pool, or ask for a `path`";
            checker.problem(&at("grpc"), "gRPC needs a pool with `protocol: http2`", help);
        }
    }
}

fn numbers(checker: &mut Checker<'_>, pool: &str, spec: &Spec) {
    let at = |key: &str| format!("{pool}.{key}");
    if let Some(most) = spec.max_in_flight {
        checker.range(&at("max_in_flight"), most, 1..=1_000_000);
    }
    checker.range(&at("http2.streams"), spec.http2.streams, 1..=10_000);
    checker.range(&at("queue.size"), spec.queue.size, 0..=100_000);
    checker.range(&at("idle_connections"), spec.idle_connections, 0..=65_535);
    checker.range(&at("retries.attempts"), spec.retries.attempts, 0..=10);
    checker.range(
        &at("outlier_detection.consecutive_failures"),
        spec.outlier_detection.consecutive_failures,
        1..=1000,
    );
}

fn hash_key(checker: &mut Checker<'_>, pool: &str, key: &HashKey) {
    let (kind, name) = match key {
        HashKey::ClientIp | HashKey::Uri => return,
        HashKey::Header(name) => ("header", name),
        HashKey::Cookie(name) => ("cookie", name),
        HashKey::Query(name) if name.is_empty() => ("query", name),
        HashKey::Query(_) => return,
    };
    if !is_token(name.as_bytes()) {
        let key_path = format!("{pool}.balance.key.{kind}");
        checker.text(&key_path, name, Some("a name has letters, digits, `-` and `_`, and no spaces"));
    }
}
