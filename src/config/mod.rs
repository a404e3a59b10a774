//! The file: its shape, its problems, and what is checked across its parts.

pub mod file;

pub use file::File;
