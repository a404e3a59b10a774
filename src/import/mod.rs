//! Makes a Lintel config from the files of other programs.
//!
//! `pm2` knows the fields of a PM2 ecosystem file and is pure; `evaluate` has Node read such a file, since it is a
//! program; `yaml` writes the result. What has no counterpart is never dropped in silence: it becomes a remark.

mod evaluate;
pub mod pm2;
mod yaml;

use std::io::Read;
use std::path::Path;

pub use evaluate::{EvaluateError, evaluate};

/// Bytes of a file that are looked at to tell a text from a program, as git does.
const HEAD: usize = 8000;

/// A config that was made from another file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    /// The config as YAML, with every remark as a comment.
    pub text: String,
    /// Names of the pools, in the order of their apps.
    pub pools: Vec<String>,
    /// What could not be taken over as it was.
    pub remarks: Vec<Remark>,
}

/// A word on something that could not be taken over as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    /// The pool it is about; none where it is about the whole file.
    pub pool: Option<String>,
    /// What it is about, such as the field `cron_restart`.
    pub about: String,
    /// What became of it, and what to do instead.
    pub advice: String,
}

/// What a path leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    Nothing,
    /// A text or a folder, for an interpreter to run.
    Script,
    /// A program of its own.
    Binary,
}

/// Looks at what a path leads to. What cannot be read is taken for nothing.
pub fn look(path: &Path) -> Found {
    if path.is_dir() {
        return Found::Script;
    }
    let Ok(file) = std::fs::File::open(path) else { return Found::Nothing };
    let mut head = Vec::with_capacity(HEAD);
    match file.take(HEAD as u64).read_to_end(&mut head) {
        Ok(_) if head.contains(&0) => Found::Binary,
        Ok(_) => Found::Script,
        Err(_) => Found::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_told_from_a_text() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| {
            std::fs::write(folder.path().join(name), bytes).unwrap();
            look(&folder.path().join(name))
        };
        assert_eq!(write("www", b"#!/usr/bin/env node\n"), Found::Script);
        assert_eq!(write("app", b"\x7fELF\x02\x01\x01\0\0"), Found::Binary);
        assert_eq!(look(folder.path()), Found::Script);
        assert_eq!(look(&folder.path().join("gone")), Found::Nothing);
    }
}
