//! What a change means to those who are connected, in words that stay true to what a reload does.

use crate::config::{KeyPath, Loaded};
use crate::route::spec::{MatchSpec, PathSpec, RegexSpec};
use crate::units::Duration;

/// `1 connection`, `2 connections`.
pub(super) fn counted(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// The listener of open connections goes.
pub(super) fn connections_go(open: u64, drain_timeout: Duration) -> String {
    match open {
        0 => "nobody is connected".to_owned(),
        open => format!(
            "{} open: each ends with its next answer; after {drain_timeout} WebSockets say goodbye and the rest is cut",
            counted(open, "connection")
        ),
    }
}

/// The listener of open connections is another one.
pub(super) fn connections_stay(open: u64) -> Option<String> {
    let words =
        "keep the settings from before and end with their next answer; WebSockets and downloads go on";
    (open > 0).then(|| format!("{} open: they {words}", counted(open, "connection")))
}

/// What is in flight on servers that go.
pub(super) fn in_flight_goes(in_flight: u64, drain_timeout: Duration) -> String {
    match in_flight {
        0 => "nothing is in flight on it".to_owned(),
        count => format!(
            "{} in flight may go on for {drain_timeout}; then WebSockets say goodbye and the rest is cut",
            counted(count, "request")
        ),
    }
}

/// A route as people call it: by its name, else by what it matches.
pub(super) fn route(loaded: &Loaded, place: usize) -> String {
    let Some(spec) = loaded.file.routes.get(place) else { return String::new() };
    let at = KeyPath::of(&["routes"]).place(place);
    match &spec.name {
        Some(name) => loaded.meant(&at.key("name"), &name.as_str().into()),
        None => matches(loaded, &at.key("match"), &spec.matches),
    }
}

fn matches(loaded: &Loaded, at: &KeyPath, spec: &MatchSpec) -> String {
    let text = |at: KeyPath, text: &str| loaded.meant(&at, &text.into());
    let list = |key: &str, items: &[String]| {
        let items = items.iter().enumerate().map(|(place, item)| text(at.key(key).place(place), item));
        items.collect::<Vec<_>>().join(",")
    };
    let path = match &spec.path {
        None => String::new(),
        Some(PathSpec::Text(path)) => text(at.key("path"), path),
        Some(PathSpec::Regex(RegexSpec { regex })) => {
            format!("~{}", text(at.key("path").key("regex"), regex))
        }
    };
    let fields = |name: &str, keys: Vec<&String>| match keys.is_empty() {
        true => String::new(),
        false => format!("{name} {}", keys.into_iter().cloned().collect::<Vec<_>>().join(",")),
    };
    let listener = spec.listener.as_ref().map(|name| format!("on {}", text(at.key("listener"), name)));
    let parts = [
        list("method", &spec.method),
        list("host", &spec.host) + &path,
        fields("headers", spec.headers.keys().collect()),
        fields("query", spec.query.keys().collect()),
        listener.unwrap_or_default(),
    ];
    let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    if parts.is_empty() { "for everything".to_owned() } else { parts.join(" ") }
}
