//! Whether servers can be given work: active checks, and passive ejection by what exchanges saw.

pub mod active;
pub mod spec;
pub mod threshold;

pub use spec::{OutlierSpec, Spec};
