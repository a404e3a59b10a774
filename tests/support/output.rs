//! What a process writes: lines, collected while it runs, searched while it runs.

use std::io::{BufRead, BufReader, Read};
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::Value;

use super::time::eventually;

/// Lines of one pipe, in order. Cheap to clone; all clones see the same lines.
#[derive(Clone, Debug, Default)]
pub struct Output {
    lines: Arc<Mutex<Vec<String>>>,
    ended: Arc<Mutex<bool>>,
}

impl Output {
    /// Collects from a pipe on a thread of its own, so that the process never waits for us.
    pub fn of(pipe: impl Read + Send + 'static) -> Self {
        let output = Self::default();
        let collected = output.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
                collected.lines.lock().push(String::from_utf8_lossy(&line).into_owned());
            }
            *collected.ended.lock() = true;
        });
        output
    }

    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().clone()
    }

    pub fn text(&self) -> String {
        self.lines.lock().join("\n")
    }

    /// Whether the other end of the pipe is closed and everything was read.
    pub fn has_ended(&self) -> bool {
        *self.ended.lock()
    }

    /// The lines that are JSON objects.
    pub fn records(&self) -> Vec<Value> {
        self.lines.lock().iter().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Awaits the first line for which `find` has an answer.
    pub async fn find<T>(&self, what: &str, find: impl Fn(&str) -> Option<T>) -> T {
        eventually(what, async || self.lines.lock().iter().find_map(|line| find(line))).await
    }

    /// Awaits the first JSON line that `fits`.
    pub async fn record(&self, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let parse = |line: &str| serde_json::from_str(line).ok().filter(|value| fits(value));
        self.find(what, parse).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_are_found_and_objects_are_parsed() {
        let output = Output::of(b"one\n{\"a\": 1}\nlast without an end".as_slice());
        assert_eq!(output.record("a", |value| value["a"] == 1).await["a"], 1);
        output.find("the last line", |line| line.starts_with("last").then_some(())).await;
        assert_eq!((output.lines().len(), output.records().len()), (3, 1));
        eventually("the end", async || output.has_ended().then_some(())).await;
    }
}
