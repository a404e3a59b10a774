//! Whether servers can be given work: active checks, and passive ejection by what exchanges saw.

pub mod passive;
pub mod spec;

pub use passive::{Ejection, Outcome};
pub use spec::{OutlierSpec, Spec};
