//! One listener over its reloads: what its next connections get, and the sockets it is listened on.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::watch;

use crate::listener::{Entrance, Share};
use crate::snapshot::Listener;

/// What all accept loops of a listener look at.
pub struct Front {
    pub listener: ArcSwap<Listener>,
    pub entrance: Entrance,
}

/// What one accept loop works with.
pub struct Gateway {
    pub front: Arc<Front>,
    pub share: Share,
    /// Port that the socket is bound to; 0 for a unix socket.
    pub port: u16,
    /// Ends when the socket is to be accepted from no more.
    pub open: watch::Receiver<()>,
}

impl Front {
    pub fn new(listener: Arc<Listener>, entrance: Entrance) -> Arc<Self> {
        Arc::new(Self { listener: ArcSwap::new(listener), entrance })
    }
}
