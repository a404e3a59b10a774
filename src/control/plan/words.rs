//! What a change means to those who are connected, in words that stay true to what a reload does.

use crate::route;
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
pub(super) fn route(spec: &route::Spec) -> String {
    spec.name.clone().unwrap_or_else(|| matches(&spec.matches))
}

fn matches(spec: &MatchSpec) -> String {
    let path = match &spec.path {
        None => String::new(),
        Some(PathSpec::Text(path)) => path.clone(),
        Some(PathSpec::Regex(RegexSpec { regex })) => format!("~{regex}"),
    };
    let place = spec.host.join(",") + &path;
    let fields = |name: &str, keys: Vec<&String>| match keys.is_empty() {
        true => String::new(),
        false => format!("{name} {}", keys.into_iter().cloned().collect::<Vec<_>>().join(",")),
    };
    let parts = [
        spec.method.join(","),
        place,
        fields("headers", spec.headers.keys().collect()),
        fields("query", spec.query.keys().collect()),
        spec.listener.as_ref().map(|listener| format!("on {listener}")).unwrap_or_default(),
    ];
    let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    if parts.is_empty() { "for everything".to_owned() } else { parts.join(" ") }
}
