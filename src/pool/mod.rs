//! A named set of interchangeable servers: pick one for a request, count what it has in flight, keep clients on theirs.
//!
//! Reading order: `pool` ties it together, `server_set` is what changes as a whole, `choice` says who may get work and
//! `balance` who does, `queue` holds those that wait, `lease` is a server in use, `sticky` binds a client to its server,
//! `orders` are what it can be told while it runs, `forwarded` is what its servers are told, `succession` is its place among those of its name.
//! It opens no connection and checks nobody's health.

pub mod balance;
pub mod budget;
pub mod choice;
pub mod forwarded;
pub mod key;
pub mod lease;
pub mod orders;
pub mod overrides;
#[expect(clippy::module_inception, reason = "the room's main type, in the file named after it")]
pub mod pool;
pub mod queue;
pub mod server_set;
pub mod spec;
pub mod sticky;
pub mod succession;

pub use choice::Span;
pub use lease::Lease;
pub use orders::OrderError;
pub use overrides::{Keep, Ordered, Overrides};
pub use pool::{Ask, Pool, Refusal};
pub use server_set::ServerSet;
pub use spec::Spec;
pub use sticky::{Link, Sticky, StickyKey};
