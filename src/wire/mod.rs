//! Messages on the wire: heads, bodies and the drivers of each protocol. Knows bytes, nothing of routes or pools.

pub mod head;
