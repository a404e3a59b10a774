//! What is shown of the inside: the one place that turns it into JSON, so that its names are a contract.

use std::time::Instant;

use serde_json::{Value, json};

use super::office::Office;
use crate::config::{Problem, render};
use crate::control::command::Reloaded;
use crate::observe::metrics::{BOUNDS_US, Histogram};
use crate::pool::Pool;
use crate::server::{Health, Server, process_ms};

/// Pools with their servers, and workers where there are any. Keys are only ever added.
pub fn status(office: &Office) -> Value {
    let (snapshot, workers) = (office.live.load(), &office.workers);
    let last = office.last_reload.lock().clone();
    let pools = snapshot.pools.values().map(|plan| {
        let pool = &plan.pool;
        let servers = pool.servers();
        json!({
            "name": &*pool.name,
            "waiting": pool.waiting(),
            "paused_s": pool.paused_for().map(|left| left.as_secs_f64()),
            "servers": servers.servers().iter().map(|server| self::server(server, pool)).collect::<Vec<_>>(),
            "app": workers.view(&pool.name),
        })
    });
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "last_reload": { "at": (last.at > 0).then_some(last.at), "problems": last.problems },
        "listeners": snapshot.listeners.iter().map(|listener| json!({
            "name": &*listener.name,
            "address": listener.spec.address.to_string(),
            "connections": listener.metrics.connections_open.value(),
        })).collect::<Vec<_>>(),
        "pools": pools.collect::<Vec<_>>(),
    })
}

/// What a reload has done.
pub fn reloaded(reloaded: &Reloaded) -> Value {
    json!({
        "hash": reloaded.hash,
        "warnings": reloaded.warnings,
        "needs_restart": reloaded.needs_restart,
    })
}

/// Something wrong in a config.
pub fn problem(problem: &Problem) -> Value {
    json!({
        "file": problem.spot.as_ref().map(|spot| &spot.file),
        "line": problem.spot.as_ref().map(|spot| spot.line),
        "column": problem.spot.as_ref().map(|spot| spot.column),
        "message": problem.message,
        "help": problem.help,
        "text": render::plain(std::slice::from_ref(problem)),
    })
}

/// One server of a pool.
pub fn server(server: &Server, pool: &Pool) -> Value {
    let reading = server.state.reading(process_ms(Instant::now()));
    let state = match server.state.health() {
        _ if reading.draining => "draining",
        _ if reading.ejected => "ejected",
        Health::Up => "up",
        Health::Down => "down",
        // Nobody asks it, so nothing speaks against it.
        Health::Unknown if pool.spec.health_check.is_none() => "up",
        Health::Unknown => "unknown",
    };
    json!({
        "name": &*server.identity,
        "address": server.endpoint.to_string(),
        "state": state,
        "weight": server.state.weight(),
        "in_flight": reading.in_flight,
        "requests": server.metrics.requests.count(),
        "p99_ms": percentile_ms(&server.metrics.first_byte, 0.99),
    })
}

/// The bound below which this share of all observations lies; `None` before the first.
fn percentile_ms(histogram: &Histogram, share: f64) -> Option<f64> {
    let counts = histogram.cumulative();
    let total = counts.last().copied().filter(|total| *total > 0)?;
    let wanted = (total as f64 * share).ceil() as u64;
    let place = counts.iter().position(|count| *count >= wanted)?;
    BOUNDS_US.get(place).or(BOUNDS_US.last()).map(|bound| *bound as f64 / 1000.0)
}
