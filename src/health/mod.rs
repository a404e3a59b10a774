//! Whether servers can be given work: active checks, and passive ejection by what exchanges saw.
//!
//! Rules and one check at a time live here; who checks whom and when is `control`'s matter.

pub mod active;
mod grpc;
mod http2;
pub mod passive;
pub mod spec;
pub mod threshold;

pub use passive::Outcome;
pub use spec::{OutlierSpec, Spec};
