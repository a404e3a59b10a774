//! Prometheus metrics: every handle is resolved when a snapshot is built, never while serving.
//!
//! The `prometheus` crate gives the text format. Its counters are not used: each carries its name, help and labels,
//! about 600 bytes, where 10,000 servers have 800,000 series. Here cells are bare atomics, and a family knows the rest.

mod cell;
mod family;
mod listener;
mod pool;
mod process;
#[cfg(test)]
mod reference;
mod route;
mod server;
mod worker;

use std::sync::Arc;

pub use cell::{BOUNDS_US, Counter, CounterBy, Gauge, Histogram};
pub use family::Handle;
pub use listener::{
    ClientTimeout, CloseReason, Handshake, HandshakeFailure, Http2Error, Http2Flood, ListenerCells,
    ListenerMetrics, Malformation, RequestVersion,
};
pub use pool::{PoolCells, PoolMetrics, RetryReason, StickyOutcome};
pub use process::{CertificateCells, CertificateMetrics, ProcessCells};
pub use route::{ExchangeFigures, RouteCells, RouteMetrics};
pub use server::{CheckOutcome, ServerCells, ServerFailure, ServerMetrics, ServerReading};
pub use worker::{WorkerCells, WorkerMetrics};

use crate::clock;
use family::Table;

/// Media type of what `Metrics::render` gives.
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// All metrics of one Lintel. Hands out handles; a handle's series live as long as its last clone.
#[derive(Default)]
pub struct Metrics {
    /// Facts of the process: config loads, logs.
    pub process: Handle<ProcessCells>,
    processes: Table<ProcessCells>,
    certificates: Table<CertificateCells>,
    listeners: Table<ListenerCells>,
    routes: Table<RouteCells>,
    pools: Table<PoolCells>,
    servers: Table<ServerCells>,
    workers: Table<WorkerCells>,
}

impl Metrics {
    /// `version` is the program's; the process is said to have begun now.
    pub fn new(version: &str) -> Arc<Self> {
        let processes = Table::<ProcessCells>::default();
        let process = processes.handle(&[]);
        *process.version.lock() = version.to_owned();
        *process.start.lock() = clock::since_epoch();
        Arc::new(Self { process, processes, ..Self::default() })
    }

    /// Handles of a route; where its work is split between pools, one for each. Without pool for its own replies.
    pub fn route(&self, route: &str, pool: Option<&str>) -> RouteMetrics {
        self.routes.handle(&[route, pool.unwrap_or_default()])
    }

    pub fn pool(&self, pool: &str) -> PoolMetrics {
        self.pools.handle(&[pool])
    }

    /// `server` is its identity.
    pub fn server(&self, pool: &str, server: &str) -> ServerMetrics {
        self.servers.handle(&[pool, server])
    }

    /// `worker` is its index.
    pub fn worker(&self, pool: &str, worker: u16) -> WorkerMetrics {
        self.workers.handle(&[pool, itoa::Buffer::new().format(worker)])
    }

    pub fn listener(&self, listener: &str) -> ListenerMetrics {
        self.listeners.handle(&[listener])
    }

    /// `certificate` is what the config calls it, such as its file.
    pub fn certificate(&self, listener: &str, certificate: &str) -> CertificateMetrics {
        self.certificates.handle(&[listener, certificate])
    }

    /// Everything in Prometheus' text format. Reads files of /proc, and takes half a second for 10,000 servers: call it
    /// where blocking is allowed.
    pub fn render(&self) -> String {
        let mut text = String::with_capacity(16 * 1024);
        self.processes.render(&mut text);
        self.certificates.render(&mut text);
        self.listeners.render(&mut text);
        self.routes.render(&mut text);
        self.pools.render(&mut text);
        self.servers.render(&mut text);
        self.workers.render(&mut text);
        text
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::time::Duration;

    use super::*;
    use crate::observe::Fault;

    /// Reads the text format strictly: HELP and TYPE before samples, every series once, names and labels well formed.
    fn parse(text: &str) -> BTreeMap<String, f64> {
        let mut series = BTreeMap::new();
        let mut seen = BTreeSet::new();
        let (mut helped, mut family) = (String::new(), String::new());
        for line in text.lines() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, help) = help.split_once(' ').expect("help has a text");
                assert!(help.ends_with('.') && help.len() > 10, "{line}");
                assert!(seen.insert(name.to_owned()), "{name} stands twice");
                helped = name.to_owned();
                continue;
            }
            if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').expect("type has a word");
                assert_eq!(name, helped, "TYPE follows its HELP");
                assert!(["counter", "gauge", "histogram"].contains(&kind));
                assert!(kind != "counter" || name.ends_with("_total"), "{name}");
                family = name.to_owned();
                continue;
            }
            let (sample, value) = line.rsplit_once(' ').expect("a sample has a value");
            let name_end = sample.find('{').unwrap_or(sample.len());
            let name = &sample[..name_end];
            assert!(
                name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'),
                "{line}"
            );
            let suffix = name.strip_prefix(family.as_str()).expect("a sample stands under its family");
            assert!(["", "_bucket", "_sum", "_count"].contains(&suffix), "{line}");
            assert!(name_end == sample.len() || sample.ends_with('}'), "{line}");
            assert!(
                series.insert(sample.to_owned(), value.parse().expect("a number")).is_none(),
                "{sample} twice"
            );
        }
        series
    }

    #[test]
    fn what_is_counted_is_rendered_in_valid_text_format() {
        let metrics = Metrics::new("1.2.3");
        metrics.process.config_loaded("abc");
        let route = metrics.route("site \"x\"\n\\", Some("web"));
        route.observe(&ExchangeFigures {
            status: 502,
            fault: Some(Fault::ConnectFailed),
            duration: Duration::from_millis(3),
            bytes_in: 10,
            bytes_out: 20,
            ..Default::default()
        });
        route.observe(&ExchangeFigures { status: 101, tunnel: true, ..Default::default() });
        let pool = metrics.pool("web");
        pool.retries.add(RetryReason::Reset, 2);
        pool.queue_length.add(3);
        pool.queue_length.sub(1);
        let server = metrics.server("web", "unix:/run/a.sock");
        server.observe_check(CheckOutcome::Timeout, Duration::from_millis(1500));
        let listener = metrics.listener("https");
        listener.handshakes.add(Handshake::Tls13Resumed, 7);
        let certificate = metrics.certificate("https", "certs/a.crt");
        certificate.expiry.record(1_900_000_000);
        let series = parse(&metrics.render());
        let value = |name: &str| *series.get(name).unwrap_or_else(|| panic!("{name} is not there"));
        let site = r#"route="site \"x\"\n\\",pool="web""#;
        assert_eq!(value(&format!("lintel_route_requests_total{{{site},status=\"502\"}}")), 1.0);
        assert_eq!(value(&format!("lintel_route_faults_total{{{site},fault=\"connect_failed\"}}")), 1.0);
        assert_eq!(value(&format!("lintel_route_duration_seconds_bucket{{{site},le=\"0.0025\"}}")), 0.0);
        assert_eq!(value(&format!("lintel_route_duration_seconds_bucket{{{site},le=\"0.005\"}}")), 1.0);
        assert_eq!(value(&format!("lintel_route_duration_seconds_bucket{{{site},le=\"+Inf\"}}")), 1.0);
        assert_eq!(value(&format!("lintel_route_duration_seconds_count{{{site}}}")), 1.0);
        assert_eq!(value(&format!("lintel_route_sent_bytes_total{{{site}}}")), 20.0);
        assert_eq!(value(r#"lintel_pool_retries_total{pool="web",reason="reset"}"#), 2.0);
        assert_eq!(value(r#"lintel_pool_queue_length{pool="web"}"#), 2.0);
        let checked = r#"{pool="web",server="unix:/run/a.sock"}"#;
        assert_eq!(value(&format!("lintel_server_check_duration_seconds{checked}")), 1.5);
        assert_eq!(
            value(r#"lintel_listener_tls_handshakes_total{listener="https",outcome="tls1.3_resumed"}"#),
            7.0
        );
        let certificate = r#"lintel_certificate_expiry_seconds{listener="https",certificate="certs/a.crt"}"#;
        assert_eq!(value(certificate), 1_900_000_000.0);
        assert_eq!(value(r#"lintel_build_info{version="1.2.3"}"#), 1.0);
        assert_eq!(value(r#"lintel_config_info{hash="abc"}"#), 1.0);
        for name in
            ["process_resident_memory_bytes", "process_open_fds", "process_max_fds", "process_threads"]
        {
            assert!(value(name) >= 1.0, "{name}");
        }
    }

    #[test]
    fn series_vanish_with_the_last_handle_and_go_on_while_one_is_held() {
        let metrics = Metrics::new("1");
        let one = metrics.server("web", "10.0.0.1:3000");
        one.requests.add(1);
        let again = metrics.server("web", "10.0.0.1:3000");
        drop(one.clone());
        drop(one);
        again.requests.add(1);
        let name = r#"lintel_server_requests_total{pool="web",server="10.0.0.1:3000"}"#;
        assert_eq!(parse(&metrics.render()).get(name), Some(&2.0));
        drop(again);
        assert!(!metrics.render().contains("10.0.0.1:3000"));
        assert_eq!(metrics.server("web", "10.0.0.1:3000").requests.count(), 0);
    }

    #[test]
    fn names_of_the_dead_are_swept() {
        let metrics = Metrics::new("1");
        let kept = metrics.server("web", "kept");
        for port in 0..10_000 {
            drop(metrics.server("web", &port.to_string()));
        }
        assert!(metrics.servers.len() <= 128, "{}", metrics.servers.len());
        assert!(metrics.render().contains("kept"));
        drop(kept);
    }

    #[test]
    fn gauges_of_a_server_are_read_from_its_state_while_it_lives() {
        let metrics = Metrics::new("1");
        let server = metrics.server("web", "a");
        assert!(!metrics.render().contains("lintel_server_up"));
        let state = Arc::new(5_u64);
        let weak = Arc::downgrade(&state);
        server.read_state(move || {
            weak.upgrade().map(|load| ServerReading { up: true, in_flight: *load, ..Default::default() })
        });
        let series = parse(&metrics.render());
        assert_eq!(series.get(r#"lintel_server_up{pool="web",server="a"}"#), Some(&1.0));
        assert_eq!(series.get(r#"lintel_server_in_flight{pool="web",server="a"}"#), Some(&5.0));
        drop(state);
        assert!(!metrics.render().contains("lintel_server_up"));
        // A detached handle counts and is shown nowhere.
        ServerMetrics::default().requests.add(1);
    }

    #[test]
    fn a_refused_config_shows_until_one_is_loaded() {
        let metrics = Metrics::new("1");
        metrics.process.config_loaded("abc");
        metrics.process.config_refused();
        let series = parse(&metrics.render());
        assert_eq!(series.get("lintel_config_last_load_ok"), Some(&0.0));
        assert_eq!(series.get(r#"lintel_config_info{hash="abc"}"#), Some(&1.0));
    }
}
