//! What a user writes under `pools.NAME.app.logs`.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Contradiction;
use crate::units::{Bytes, Duration, form};

/// Lines of one stream of a worker that are taken in a second, unless something else is written.
pub const LINES_PER_SECOND: u32 = 1000;
/// And bytes.
pub const BYTES_PER_SECOND: Bytes = Bytes::from_mib(1);

/// Files for what workers write.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LogsSpec {
    /// Folder of the files.
    #[serde(deserialize_with = "form::path")]
    pub directory: PathBuf,
    /// When a file is put aside and a new one begun, and which old ones are kept. `off`: that is left to another
    /// program, such as logrotate.
    #[serde(default = "default_rotate", deserialize_with = "form::or_off")]
    #[schemars(with = "Option<form::OrOff<RotateSpec>>")]
    pub rotate: Option<RotateSpec>,
    /// Lines a second that are taken from each stream of a worker, and five times as many at once; the rest is left out.
    #[serde(default = "default_lines_per_second")]
    #[schemars(range(min = 1))]
    pub lines_per_second: u32,
    /// Bytes a second, likewise.
    #[serde(default = "default_bytes_per_second")]
    pub bytes_per_second: Bytes,
}

fn default_rotate() -> Option<RotateSpec> {
    Some(RotateSpec::default())
}

fn default_lines_per_second() -> u32 {
    LINES_PER_SECOND
}

fn default_bytes_per_second() -> Bytes {
    BYTES_PER_SECOND
}

/// When a file is put aside and a new one begun, and which old ones are kept.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RotateSpec {
    /// Size at which a file is put aside.
    pub size: Bytes,
    /// Age at which a file is put aside, counted from its first line. Off unless written.
    #[serde(deserialize_with = "form::or_off")]
    #[schemars(with = "Option<form::OrOff<Duration>>")]
    pub age: Option<Duration>,
    /// How many old files of each worker are kept.
    pub keep: u16,
    /// Compresses old files with gzip.
    pub compress: bool,
    /// Size of all files of the app together; the oldest go to stay below it. Off unless written.
    #[serde(deserialize_with = "form::or_off")]
    #[schemars(with = "Option<form::OrOff<Bytes>>")]
    pub total: Option<Bytes>,
}

impl Default for RotateSpec {
    fn default() -> Self {
        Self { size: Bytes::from_mib(50), age: None, keep: 10, compress: true, total: None }
    }
}

impl LogsSpec {
    /// What only all of its keys together can show, and limits that let nothing pass.
    pub fn contradictions(&self) -> Vec<Contradiction> {
        let mut found = Vec::new();
        let mut unless = |key, message, help| found.push(Contradiction { key, message, help });
        if let Some(rotate) = &self.rotate {
            if rotate.size.count() == 0 {
                unless("logs.rotate.size", "no line fits into a file of 0B", "write a size such as 50MiB");
            }
            if rotate.total.is_some_and(|total| total < rotate.size) {
                unless(
                    "logs.rotate.total",
                    "all files together are allowed less than one of them",
                    "write at least the value of `size`, which is 50MiB by default",
                );
            }
        }
        if self.lines_per_second == 0 {
            unless("logs.lines_per_second", "no line would ever be taken", "write a number such as 1000");
        }
        if self.bytes_per_second.count() == 0 {
            unless("logs.bytes_per_second", "no line would ever be taken", "write a size such as 1MiB");
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logs(text: &str) -> LogsSpec {
        serde_json::from_str(&format!(r#"{{ "directory": "/var/log/app"{text} }}"#)).unwrap()
    }

    #[test]
    fn a_folder_is_all_that_must_be_written() {
        let spec = logs("");
        assert_eq!((spec.lines_per_second, spec.bytes_per_second), (1000, Bytes::from_mib(1)));
        let rotate = spec.rotate.clone().unwrap();
        assert_eq!((rotate.size, rotate.age, rotate.keep), (Bytes::from_mib(50), None, 10));
        assert_eq!((rotate.compress, rotate.total), (true, None));
        assert_eq!(spec.contradictions(), []);
        assert!(serde_json::from_str::<LogsSpec>("{}").unwrap_err().to_string().contains("`directory`"));
    }

    #[test]
    fn everything_can_be_written() {
        assert_eq!(logs(r#", "rotate": "off""#).rotate, None);
        let rotate = logs(r#", "rotate": { "keep": 3 }"#).rotate.unwrap();
        assert_eq!(rotate, RotateSpec { keep: 3, ..RotateSpec::default() });
        let rotate =
            logs(r#", "rotate": { "age": "1d", "compress": false, "total": "1GiB" }"#).rotate.unwrap();
        assert_eq!((rotate.age, rotate.compress), (Some("1d".parse().unwrap()), false));
        assert_eq!(rotate.total, Some("1GiB".parse().unwrap()));
    }

    #[test]
    fn contradictions_name_their_key() {
        for (rest, key) in [
            (r#""rotate": { "size": "0B" }"#, "logs.rotate.size"),
            (r#""rotate": { "total": "49MiB" }"#, "logs.rotate.total"),
            (r#""lines_per_second": 0"#, "logs.lines_per_second"),
            (r#""bytes_per_second": "0B""#, "logs.bytes_per_second"),
        ] {
            let found = logs(&format!(", {rest}")).contradictions();
            assert_eq!(found.iter().map(|one| one.key).collect::<Vec<_>>(), [key]);
        }
    }
}
