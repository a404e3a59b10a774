//! One route's conditions, compiled: where it stands in the table, and what must hold beyond host and path.
//!
//! Everything that can be wrong in a `MatchSpec` alone is found here; routes that clash are found by the table.

use regex::RegexBuilder;

use super::host::Host;
use super::path::NormalPath;
use super::query::any_value;
use super::spec::{MatchSpec, PathSpec, ValueSpec};
use super::table::Query;
use super::{CompileProblem, split_target};
use crate::filter::headers::check_name;
use crate::wire::head::{Known, Method};

/// Most memory that one compiled regular expression, and its cache per thread, may take.
const REGEX_LIMIT: usize = 1 << 20;

/// One route's conditions.
pub(super) struct Matcher {
    /// Never empty.
    pub(super) hosts: Vec<HostRule>,
    pub(super) path: PathRule,
    pub(super) conditions: Conditions,
}

/// Hosts that a route takes; names are lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum HostRule {
    Exact(Box<str>),
    /// Any name below this one, at any depth.
    Below(Box<str>),
    Any,
}

/// Paths that a route takes, as normal text.
#[derive(Clone, Debug)]
pub(super) enum PathRule {
    Exact(Box<str>),
    Regex(Pattern),
    /// This path and all below it; empty for every path.
    Prefix(Box<str>),
    Any,
}

/// A regular expression over a whole text.
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    pub(super) text: Box<str>,
    regex: regex::Regex,
}

/// What must hold beyond host and path.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Conditions {
    /// Sorted; all unless written.
    pub(super) methods: Box<[Box<str>]>,
    headers: Box<[HeaderRule]>,
    query: Box<[(Box<str>, ValueRule)]>,
    pub(super) listener: Option<Box<str>>,
}

#[derive(Debug, PartialEq, Eq)]
struct HeaderRule {
    /// Lower case.
    name: Box<str>,
    known: Known,
    value: ValueRule,
}

#[derive(Debug, PartialEq, Eq)]
enum ValueRule {
    Exact(Box<str>),
    Regex(Pattern),
}

impl Matcher {
    pub(super) fn compile(spec: &MatchSpec) -> Result<Self, Vec<CompileProblem>> {
        let mut problems = Vec::new();
        let mut hosts = Vec::new();
        for (place, text) in spec.host.iter().enumerate() {
            match HostRule::compile(text) {
                Ok(rule) if hosts.contains(&rule) => {}
                Ok(rule) => hosts.push(rule),
                Err(message) => problems.push(CompileProblem::new(format!("match.host[{place}]"), message)),
            }
        }
        if spec.host.is_empty() {
            hosts.push(HostRule::Any);
        }
        let path = PathRule::compile(spec.path.as_ref()).unwrap_or_else(|message| {
            problems.push(CompileProblem::new("match.path", message));
            PathRule::Any
        });
        let conditions = Conditions::compile(spec, &mut problems);
        if problems.is_empty() { Ok(Self { hosts, path, conditions }) } else { Err(problems) }
    }
}

impl HostRule {
    fn compile(text: &str) -> Result<Self, String> {
        let (below, name) = match text.strip_prefix("*.") {
            Some(name) => (true, name),
            None => (false, text),
        };
        if name.contains('*') {
            let hint = if name == "*" { "leave `host` out for any host" } else { "write NAME or *.NAME" };
            return Err(format!("`{text}` has a `*` that does not stand alone before a dot; {hint}"));
        }
        if !name.is_ascii() {
            return Err(format!("`{text}` is not in the form that clients send; write its `xn--` form"));
        }
        let host = Host::of(name.as_bytes()).map_err(|error| format!("`{text}` is not a host: {error}"))?;
        if name.contains(':') && (!host.is_ipv6() || host.port().is_some()) {
            return Err(format!("`{text}` has a port; hosts are matched without it"));
        }
        match below {
            true if host.is_ipv6() => Err(format!("`{text}`: there are no names below an address")),
            true => Ok(Self::Below(host.name().into())),
            false => Ok(Self::Exact(host.name().into())),
        }
    }
}

impl PathRule {
    pub(super) fn compile(spec: Option<&PathSpec>) -> Result<Self, String> {
        match spec {
            None => Ok(Self::Any),
            Some(PathSpec::Regex(spec)) => Pattern::compile(&spec.regex).map(Self::Regex),
            Some(PathSpec::Text(text)) => match text.strip_suffix("/*") {
                Some("") => Ok(Self::Prefix("".into())),
                Some(prefix) => plain_path(prefix).map(Self::Prefix),
                None => literal_path(text).map(Self::Exact),
            },
        }
    }
}

/// A path prefix of a Spec as normal text: without a slash at its end.
pub(super) fn plain_path(text: &str) -> Result<Box<str>, String> {
    let path = literal_path(text)?;
    if path.ends_with('/') { Err(format!("`{text}` has a slash too many at its end")) } else { Ok(path) }
}

/// A path of a Spec as normal text; one that clients could mean in two ways is refused.
fn literal_path(text: &str) -> Result<Box<str>, String> {
    if !text.starts_with('/') {
        return Err(format!("`{text}` does not start with `/`"));
    }
    if text.contains('*') {
        return Err(format!(
            "`{text}` has a `*` that is not a whole last segment; write `/PREFIX/*`, {{ regex: ... }}, or `%2A` for the \
             character itself"
        ));
    }
    // A star can be written only as an escape, which is no ambiguity here.
    let unstarred = text.replace("%2A", "*").replace("%2a", "*");
    let path = NormalPath::of(unstarred.as_bytes()).map_err(|error| format!("`{text}`: {error}"))?;
    if !path.is_unambiguous() {
        return Err(format!(
            "`{text}` is a path that is never matched: write it without `//`, `.` and `..` segments, and without escapes \
             of plain characters, slashes and backslashes"
        ));
    }
    Ok(path.as_str().into())
}

impl Pattern {
    fn compile(text: &str) -> Result<Self, String> {
        let build = |text: &str| {
            let mut builder = RegexBuilder::new(text);
            builder.dot_matches_new_line(true).size_limit(REGEX_LIMIT).dfa_size_limit(REGEX_LIMIT);
            builder.build().map_err(|error| {
                let reason = error.to_string();
                let reason = reason.lines().last().unwrap_or_default();
                format!("`{text}` is not a regular expression: {}", reason.trim_start_matches("error: "))
            })
        };
        // Alone first: a text such as `a)|(b` is valid only inside the group.
        build(text)?;
        let regex = build(&format!(r"\A(?:{text})\z"))?;
        Ok(Self { text: text.into(), regex })
    }

    pub(super) fn matches(&self, text: &str) -> bool {
        self.regex.is_match(text)
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}
impl Eq for Pattern {}

impl Conditions {
    fn compile(spec: &MatchSpec, problems: &mut Vec<CompileProblem>) -> Self {
        let mut methods = Vec::new();
        for (place, text) in spec.method.iter().enumerate() {
            match check_method(text) {
                Ok(()) => methods.push(Box::from(text.as_str())),
                Err(message) => problems.push(CompileProblem::new(format!("match.method[{place}]"), message)),
            }
        }
        methods.sort();
        methods.dedup();
        let mut headers: Vec<HeaderRule> = Vec::new();
        for (name, value) in &spec.headers {
            let rule = HeaderRule::compile(name, value).and_then(|rule| {
                let is_new = headers.iter().all(|other| other.name != rule.name);
                if is_new { Ok(rule) } else { Err(format!("`{name}` is written twice")) }
            });
            match rule {
                Ok(rule) => headers.push(rule),
                Err(message) => problems.push(CompileProblem::new(format!("match.headers.{name}"), message)),
            }
        }
        headers.sort_by(|a, b| a.name.cmp(&b.name));
        let mut query = Vec::new();
        for (name, value) in &spec.query {
            match ValueRule::compile(value) {
                Ok(value) => query.push((Box::from(name.as_str()), value)),
                Err(message) => problems.push(CompileProblem::new(format!("match.query.{name}"), message)),
            }
        }
        Self {
            methods: methods.into(),
            headers: headers.into(),
            query: query.into(),
            listener: spec.listener.as_deref().map(Box::from),
        }
    }

    /// Higher is more specific: method, headers, query, listener.
    pub(super) fn rank(&self) -> (usize, usize, usize, usize) {
        let method = usize::from(!self.methods.is_empty());
        (method, self.headers.len(), self.query.len(), usize::from(self.listener.is_some()))
    }

    /// Whether some request could satisfy both sets with neither more specific, and they differ in no condition.
    pub(super) fn clashes_with(&self, other: &Self) -> bool {
        let same_methods =
            self.methods == other.methods || self.methods.iter().any(|m| other.methods.contains(m));
        same_methods
            && self.headers == other.headers
            && self.query == other.query
            && self.listener == other.listener
    }

    pub(super) fn hold(&self, query: &Query<'_>) -> bool {
        (self.methods.is_empty() || self.methods.iter().any(|method| **method == *query.head.method_text()))
            && self.listener.as_deref().is_none_or(|listener| listener == query.listener)
            && self.headers.iter().all(|rule| rule.holds(query))
            && (self.query.is_empty() || self.query_holds(query.head.target()))
    }

    fn query_holds(&self, target: &[u8]) -> bool {
        let (_, query) = split_target(target);
        let query = query.unwrap_or_default();
        self.query.iter().all(|(name, rule)| any_value(query, name, |value| rule.takes(value)))
    }
}

impl HeaderRule {
    fn compile(name: &str, value: &ValueSpec) -> Result<Self, String> {
        check_name(name)?;
        let known = Known::of(name.as_bytes());
        if known == Known::Host {
            return Err("write `match: { host: ... }` instead".to_owned());
        }
        Ok(Self { name: name.to_ascii_lowercase().into(), known, value: ValueRule::compile(value)? })
    }

    /// One field line of this name with the value is enough.
    fn holds(&self, query: &Query<'_>) -> bool {
        match self.known {
            Known::Other => query.head.all_named(&self.name).any(|value| self.value.takes(value)),
            known => query.head.all(known).any(|value| self.value.takes(value)),
        }
    }
}

impl ValueRule {
    fn compile(spec: &ValueSpec) -> Result<Self, String> {
        match spec {
            ValueSpec::Exact(text) => Ok(Self::Exact(text.as_str().into())),
            ValueSpec::Regex(spec) => Pattern::compile(&spec.regex).map(Self::Regex),
        }
    }

    /// Bytes that are not UTF-8 stand as U+FFFD before a regular expression, so that `.` takes them.
    fn takes(&self, value: &[u8]) -> bool {
        match self {
            Self::Exact(text) => text.as_bytes() == value,
            Self::Regex(pattern) => pattern.matches(&String::from_utf8_lossy(value)),
        }
    }
}

fn check_method(text: &str) -> Result<(), String> {
    check_name(text).map_err(|_| format!("`{text}` is not a method"))?;
    let upper = text.to_ascii_uppercase();
    if text != upper && Method::of(upper.as_bytes()) != Method::Other {
        return Err(format!("methods are case-sensitive; write `{upper}`"));
    }
    Ok(())
}
