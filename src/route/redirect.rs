//! Where a client is sent: a route's `redirect`, and a listener's `redirect_to`.
//!
//! Whatever the request says, a Location leads where the Spec says: never to a host that the client's path named, and
//! never with a character that ends a header line.

use std::fmt::Write as _;

use super::CompileProblem;
use super::host::Host;
use super::matcher::PathRule;
use super::path::split_target;
use super::rewrite::strip;
use super::spec::{PathSpec, RedirectSpec};
use crate::reply::Reply;

const STATUSES: [u16; 5] = [301, 302, 303, 307, 308];

/// A compiled redirect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    status: u16,
    /// `to` up to its query.
    base: Box<[u8]>,
    /// Without `?`.
    query: Option<Box<[u8]>>,
    /// With its `#`, or empty.
    fragment: Box<[u8]>,
    /// The matched prefix, where what follows it is kept.
    prefix: Option<Box<str>>,
}

impl Redirect {
    /// `path` is the route's own path condition.
    pub fn compile(spec: &RedirectSpec, path: Option<&PathSpec>) -> Result<Self, Vec<CompileProblem>> {
        let mut problems = Vec::new();
        if !STATUSES.contains(&spec.status) {
            let message = format!("{} is not one of 301, 302, 303, 307 and 308", spec.status);
            problems.push(CompileProblem::new("redirect.status", message));
        }
        if let Err(message) = check_location(&spec.to) {
            problems.push(CompileProblem::new("redirect.to", message));
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let (rest, fragment) = spec.to.split_at(spec.to.find('#').unwrap_or(spec.to.len()));
        let (base, query) = split_target(rest.as_bytes());
        // A bad path is the table's problem to tell.
        let prefix = match PathRule::compile(path) {
            Ok(PathRule::Prefix(prefix)) if base.ends_with(b"/") => Some(prefix),
            _ => None,
        };
        let location = |text: &[u8]| -> Box<[u8]> {
            let mut safe = Vec::new();
            push_safe(&mut safe, text);
            safe.into()
        };
        Ok(Self {
            status: spec.status,
            base: location(base),
            query: query.map(location),
            fragment: location(fragment.as_bytes()),
            prefix,
        })
    }

    /// The answer to a request with this raw target.
    pub fn reply(&self, raw: &[u8]) -> Reply {
        Reply::new(self.status).with("Location", &self.location(raw))
    }

    /// The Location for a raw target: `to`, what follows the matched prefix, the queries of both.
    pub fn location(&self, raw: &[u8]) -> Vec<u8> {
        let (path, query) = split_target(raw);
        let mut location = self.base.to_vec();
        if let Some(rest) = self.prefix.as_deref().and_then(|prefix| strip(prefix, path)) {
            // The base ends in its slash: a second one could begin a host.
            let start = rest.iter().position(|byte| *byte != b'/').unwrap_or(rest.len());
            push_safe(&mut location, &rest[start..]);
        }
        let mut joint = b'?';
        for query in [self.query.as_deref(), query].into_iter().flatten() {
            location.push(joint);
            push_safe(&mut location, query);
            joint = b'&';
        }
        location.extend_from_slice(&self.fragment);
        location
    }
}

/// The answer of a listener that sends every request to another one: same host, path and query, its scheme and port.
/// The port is left out where the scheme implies it.
pub fn to_listener(scheme: &str, host: &Host, port: u16, raw: &[u8]) -> Reply {
    let mut location = format!("{scheme}://{}", host.name());
    if !matches!((scheme, port), ("https", 443) | ("http", 80)) {
        // Writing to a string cannot fail.
        let _ = write!(location, ":{port}");
    }
    let mut location = location.into_bytes();
    if raw.starts_with(b"/") {
        push_safe(&mut location, raw);
    } else {
        location.push(b'/');
    }
    Reply::new(308).with("Location", &location)
}

/// A path from the root, or a whole http(s) URL with a host.
fn check_location(to: &str) -> Result<(), String> {
    if let Some(bad) = to.chars().find(|c| c.is_control() || matches!(c, ' ' | '\\')) {
        return Err(format!("`{}` cannot stand in a location; write it escaped", bad.escape_default()));
    }
    let whole = to.strip_prefix("https://").or_else(|| to.strip_prefix("http://"));
    if let Some(rest) = whole {
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let host = Host::of(&rest.as_bytes()[..end]);
        return host.map(|_| ()).map_err(|error| format!("`{to}`: {error}"));
    }
    if to.starts_with("//") {
        return Err(format!("`{to}` names a host without a scheme; write `https:{to}`"));
    }
    if !to.starts_with('/') {
        return Err(format!("`{to}` is neither a path from `/` on nor an http:// or https:// URL"));
    }
    Ok(())
}

/// Appends text, with every byte escaped that could not stand in a header line or that a browser reads as a slash.
fn push_safe(location: &mut Vec<u8>, text: &[u8]) {
    for &byte in text {
        if byte <= b' ' || byte >= 0x7f || b"\\\"<>".contains(&byte) {
            location.extend_from_slice(format!("%{byte:02X}").as_bytes());
        } else {
            location.push(byte);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn redirect(to: &str, path: &str) -> Redirect {
        let spec = RedirectSpec { to: to.to_owned(), status: 308 };
        Redirect::compile(&spec, Some(&PathSpec::Text(path.to_owned()))).unwrap()
    }

    fn location(to: &str, path: &str, raw: &str) -> String {
        String::from_utf8(redirect(to, path).location(raw.as_bytes())).unwrap()
    }

    fn location_of(reply: &Reply) -> String {
        String::from_utf8(reply.head.all_named("location").next().unwrap().to_vec()).unwrap()
    }

    #[test]
    fn what_follows_the_prefix_and_the_query_are_kept() {
        for (to, path, raw, result) in [
            ("/new/", "/old/*", "/old/a/b?x=1", "/new/a/b?x=1"),
            ("/new/", "/old/*", "/old", "/new/"),
            ("/new/", "/old/*", "/old/?", "/new/?"),
            ("/new", "/old/*", "/old/a?x", "/new?x"),
            ("/new/", "/old", "/old?x", "/new/?x"),
            ("/", "/old/*", "/old/a%20b", "/a%20b"),
            ("/new?a=1", "/old", "/old?b=2", "/new?a=1&b=2"),
            ("/new/?a=1#top", "/old/*", "/old/x?b=2", "/new/x?a=1&b=2#top"),
            ("https://example.com/", "/*", "/a/b?c", "https://example.com/a/b?c"),
            ("https://example.com", "/*", "/a", "https://example.com"),
            ("/caf\u{e9}", "/old", "/old", "/caf%C3%A9"),
        ] {
            assert_eq!(location(to, path, raw), result, "{to} {path} {raw}");
        }
        let reply = redirect("/new", "/old").reply(b"/old");
        assert_eq!((reply.head.status, location_of(&reply)), (308, "/new".to_owned()));
    }

    #[test]
    fn no_path_can_name_the_host_of_a_location() {
        for raw in [
            "/old//evil.com/",
            "/old///evil.com",
            "/old/%2Fevil.com",
            "/old/%5Cevil.com",
            "/old/%2F%2Fevil.com",
            "/old/./evil.com",
            "//old//evil.com",
            "/old/x/..//evil.com",
            "/old/https://evil.com",
        ] {
            let location = location("/", "/old/*", raw);
            assert!(
                location.starts_with('/') && !location.starts_with("//") && !location.contains('\\'),
                "{raw}: {location}"
            );
        }
    }

    #[test]
    fn a_wrong_redirect_is_reported_at_its_key() {
        let compile = |to: &str, status| Redirect::compile(&RedirectSpec { to: to.to_owned(), status }, None);
        for to in [
            "",
            "new",
            "//evil.com",
            "ftp://x/",
            "https://",
            "https:///x",
            "https://a b/",
            "/a\r\nx: 1",
            "/\\x",
            "javascript:1",
        ] {
            assert_eq!(compile(to, 308).unwrap_err()[0].at, "redirect.to", "{to:?}");
        }
        for status in [200, 300, 304, 399] {
            assert_eq!(compile("/x", status).unwrap_err()[0].at, "redirect.status");
        }
    }

    #[test]
    fn a_listener_keeps_host_path_and_query_and_leaves_out_a_usual_port() {
        for (scheme, host, port, raw, result) in [
            ("https", "App.example.com:8080", 443, "/a?b", "https://app.example.com/a?b"),
            ("https", "localhost", 8443, "/", "https://localhost:8443/"),
            ("http", "a", 80, "/x", "http://a/x"),
            ("https", "[::1]:80", 8443, "//evil.com/%2e", "https://[::1]:8443//evil.com/%2e"),
            ("https", "a", 443, "*", "https://a/"),
        ] {
            let reply = to_listener(scheme, &Host::of(host.as_bytes()).unwrap(), port, raw.as_bytes());
            assert_eq!((reply.head.status, location_of(&reply).as_str()), (308, result));
        }
        let reply = to_listener("https", &Host::of(b"a").unwrap(), 443, b"/\r\nx: \xff\\");
        assert_eq!(location_of(&reply), "https://a/%0D%0Ax:%20%FF%5C");
    }

    proptest! {
        #[test]
        fn no_target_breaks_out_of_a_location(raw in "/(old)?[/a.%2f5c\\\\\r\n?#:@é-]{0,20}", to in prop::sample::select(vec!["/", "/n/", "/n?q"])) {
            let location = redirect(to, "/old/*").location(raw.as_bytes());
            prop_assert!(location.starts_with(b"/") && !location.starts_with(b"//"));
            prop_assert!(location.iter().all(|byte| (0x21..0x7f).contains(byte) && *byte != b'\\'));
        }
    }
}
