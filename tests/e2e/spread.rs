//! How requests spread: who answered how often.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use futures_util::{StreamExt, stream};

use crate::support::{Connection, get};

pub type Counts = BTreeMap<String, usize>;

/// Sends so many GETs one after the other, each on a connection of its own, and counts who answered.
pub async fn spread(address: SocketAddr, path: &str, requests: usize) -> Counts {
    let mut counts = Counts::new();
    for _ in 0..requests {
        *counts.entry(get(address, path).await.text()).or_default() += 1;
    }
    counts
}

/// As `spread`, several at a time, each on a kept-alive connection of its own.
pub async fn spread_at_once(address: SocketAddr, path: &str, requests: usize, clients: usize) -> Counts {
    let each = requests / clients;
    let rounds = stream::iter(0..clients).map(|_| async move {
        let mut connection = Connection::open(address).await;
        let mut names = Vec::new();
        for _ in 0..each {
            names.push(connection.get(path).await.text());
        }
        names
    });
    let names: Vec<Vec<String>> = rounds.buffer_unordered(clients).collect().await;
    let mut counts = Counts::new();
    for name in names.into_iter().flatten() {
        *counts.entry(name).or_default() += 1;
    }
    counts
}

/// Fails unless each of these names has a count in the range.
pub fn assert_counts(counts: &Counts, names: &[&str], range: std::ops::RangeInclusive<usize>) {
    for name in names {
        let count = counts.get(*name).copied().unwrap_or(0);
        assert!(range.contains(&count), "{name} has {count}, not {range:?}: {counts:?}");
    }
}
