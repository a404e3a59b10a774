//! What is counted per route: replies by status, durations, bytes, faults.

use std::sync::OnceLock;
use std::time::Duration;

use super::cell::{Counter, CounterBy, Histogram};
use super::family::{Cells, Family, Handle, Kind};
use crate::observe::Fault;

/// Statuses of gRPC: OK to UNAUTHENTICATED.
const GRPC_STATUSES: usize = 17;

/// Handles of one route and one of its pools; route `""` counts requests that no route matched.
pub type RouteMetrics = Handle<RouteCells>;

/// What is known of an exchange when it ends.
#[derive(Clone, Copy, Debug, Default)]
pub struct ExchangeFigures {
    /// Status sent to the client; 499 when it left before one was.
    pub status: u16,
    pub fault: Option<Fault>,
    /// From the request's first byte to the end.
    pub duration: Duration,
    /// From the request's first byte to the first byte of the server's response.
    pub first_byte: Option<Duration>,
    /// Head and body of the request.
    pub bytes_in: u64,
    /// Head and body of the response.
    pub bytes_out: u64,
    /// It became a tunnel: its duration says nothing about the server's speed and is left out of the histogram.
    pub tunnel: bool,
    /// Final status of a gRPC call.
    pub grpc_status: Option<u8>,
}

#[derive(Debug, Default)]
pub struct RouteCells {
    statuses: Statuses,
    duration: Histogram,
    first_byte: Histogram,
    bytes_in: Counter,
    bytes_out: Counter,
    faults: CounterBy<Fault>,
    grpc: OnceLock<Box<[Counter; GRPC_STATUSES]>>,
}

impl RouteCells {
    /// Counts one exchange; five to eight relaxed adds.
    pub fn observe(&self, figures: &ExchangeFigures) {
        self.statuses.of(figures.status).add(1);
        self.bytes_in.add(figures.bytes_in);
        self.bytes_out.add(figures.bytes_out);
        if !figures.tunnel {
            self.duration.observe(figures.duration);
        }
        if let Some(first_byte) = figures.first_byte {
            self.first_byte.observe(first_byte);
        }
        if let Some(status) = figures.grpc_status {
            let counters = self.grpc.get_or_init(|| Box::new([const { Counter::new() }; GRPC_STATUSES]));
            if let Some(counter) = counters.get(usize::from(status)) {
                counter.add(1);
            }
        }
        if let Some(fault) = figures.fault {
            self.faults.add(fault, 1);
        }
    }
}

impl Cells for RouteCells {
    const LABELS: &'static [&'static str] = &["route", "pool"];
    const FAMILIES: &'static [Family<Self>] = &[
        Family {
            name: "lintel_route_requests_total",
            kind: Kind::Counter,
            labels: &["status"],
            help: "Requests, by the status sent to the client; 499 when the client left before one was sent.",
            read: |cells, samples| {
                cells.statuses.each(|status, count| samples.value(&[status], count as f64));
            },
        },
        Family {
            name: "lintel_route_duration_seconds",
            kind: Kind::Histogram,
            labels: &[],
            help: "Time from a request's first byte to the end of its response; tunnels are left out.",
            read: |cells, samples| samples.histogram(&cells.duration),
        },
        Family {
            name: "lintel_route_first_byte_seconds",
            kind: Kind::Histogram,
            labels: &[],
            help: "Time from a request's first byte to the first byte of the server's response.",
            read: |cells, samples| samples.histogram(&cells.first_byte),
        },
        Family {
            name: "lintel_route_received_bytes_total",
            kind: Kind::Counter,
            labels: &[],
            help: "Bytes of requests, heads and bodies.",
            read: |cells, samples| samples.value(&[], cells.bytes_in.count() as f64),
        },
        Family {
            name: "lintel_route_sent_bytes_total",
            kind: Kind::Counter,
            labels: &[],
            help: "Bytes of responses, heads and bodies.",
            read: |cells, samples| samples.value(&[], cells.bytes_out.count() as f64),
        },
        Family {
            name: "lintel_route_grpc_total",
            kind: Kind::Counter,
            labels: &["code"],
            help: "gRPC calls, by their final status: 0 is OK.",
            read: |cells, samples| {
                for (code, counter) in cells.grpc.get().into_iter().flat_map(|all| all.iter()).enumerate() {
                    if counter.count() > 0 {
                        samples.value(&[itoa::Buffer::new().format(code)], counter.count() as f64);
                    }
                }
            },
        },
        Family {
            name: "lintel_route_faults_total",
            kind: Kind::Counter,
            labels: &["fault"],
            help: "Requests that could not be served as asked, by what went wrong.",
            read: |cells, samples| samples.by_seen(&cells.faults),
        },
    ];
}

/// One counter per exact status, made a hundred at a time when a class is first seen.
#[derive(Debug, Default)]
struct Statuses {
    /// 1xx to 5xx.
    classes: [OnceLock<Box<[Counter; 100]>>; 5],
    /// Whatever else a server may send (RFC 9110 section 15 has none).
    other: Counter,
}

impl Statuses {
    fn of(&self, status: u16) -> &Counter {
        let class = usize::from(status / 100).checked_sub(1).and_then(|class| self.classes.get(class));
        let Some(class) = class else { return &self.other };
        let counters = class.get_or_init(|| Box::new([const { Counter::new() }; 100]));
        counters.get(usize::from(status % 100)).unwrap_or(&self.other)
    }

    /// Tells every status that was seen.
    fn each(&self, mut tell: impl FnMut(&str, u64)) {
        for (class, counters) in self.classes.iter().enumerate() {
            for (rest, counter) in counters.get().into_iter().flat_map(|counters| counters.iter()).enumerate()
            {
                if counter.count() > 0 {
                    tell(itoa::Buffer::new().format((class + 1) * 100 + rest), counter.count());
                }
            }
        }
        if self.other.count() > 0 {
            tell("other", self.other.count());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_a_counter_of_its_own() {
        let statuses = Statuses::default();
        for status in [100, 101, 200, 200, 499, 599, 600, 999, 0, 99, u16::MAX] {
            statuses.of(status).add(1);
        }
        let mut seen = Vec::new();
        statuses.each(|status, count| seen.push(format!("{status}:{count}")));
        assert_eq!(seen, ["100:1", "101:1", "200:2", "499:1", "599:1", "other:5"]);
    }
}
