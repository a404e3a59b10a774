//! Many HTTP/1.1 clients at once, each with a connection of its own.

use std::net::SocketAddr;

use futures_util::future::join_all;

use crate::support::get;

/// The bodies of so many GETs that run at the same time.
pub async fn at_once(address: SocketAddr, count: usize) -> Vec<String> {
    join_all((0..count).map(|_| async move { get(address, "/").await.text() })).await
}
