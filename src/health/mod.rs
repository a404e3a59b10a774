//! Whether servers can be given work: active checks, and passive ejection by what exchanges saw.

pub mod spec;

pub use spec::{OutlierSpec, Spec};
