//! From servers as written to servers that can be connected to: host names are looked up while running.
//!
//! It knows when a name is due and how to ask for it; the tasks that ask are `control`'s.

pub mod dns;
pub mod expand;
pub mod schedule;

pub use dns::{Answer, LookUp, LookUpError};
pub use expand::{Answers, expand};
pub use schedule::{Poke, Schedule};
