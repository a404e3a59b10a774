//! Rules for single texts: names, header fields, cookies, hosts, paths, regular expressions. Pure.

use std::net::Ipv4Addr;
use std::net::Ipv6Addr;

/// Fields that belong to one connection or frame a message; Lintel writes them itself (RFC 9110 section 7.6.1, RFC 9112
/// section 6).
const FRAMING: [&str; 9] = [
    "connection",
    "content-length",
    "transfer-encoding",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "upgrade",
    "host",
];

/// Names that a user gives to listeners, pools, policies and routes: fit for labels, command lines and URLs.
pub fn is_name(name: &str) -> bool {
    let fine = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    (1..=64).contains(&name.len()) && name.bytes().all(fine) && !name.starts_with(['.', '-'])
}

/// RFC 9110 section 5.6.2; cookie names are tokens too (RFC 6265 section 4.1.1).
pub fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

/// Whether a field may not be touched by a config.
pub fn is_framing(name: &str) -> bool {
    FRAMING.iter().any(|framing| framing.eq_ignore_ascii_case(name))
}

/// RFC 9110 section 5.5: no CR, LF or NUL, and no white space at the ends, which would not arrive.
pub fn header_value_error(value: &str) -> Option<&'static str> {
    if value.bytes().any(|b| b < 0x20 && b != b'\t' || b == 0x7f) {
        return Some("a header value has no line breaks and no control characters");
    }
    if value.trim_matches([' ', '\t']).len() != value.len() {
        return Some("a header value does not begin or end with white space");
    }
    None
}

/// A host of a match: a name, `*.` and a name, or an IP address; no port.
pub fn host_pattern_error(pattern: &str) -> Option<&'static str> {
    let name = pattern.strip_prefix("*.").unwrap_or(pattern);
    if name.contains('*') {
        return Some("`*` stands for whole labels at the front only: `*.example.com`");
    }
    if name.len() < pattern.len() && name.parse::<Ipv4Addr>().is_ok() {
        return Some("`*` stands before a name, not before an address");
    }
    host_error(name)
}

/// A host without port.
pub fn host_error(host: &str) -> Option<&'static str> {
    if let Some(inside) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return inside.parse::<Ipv6Addr>().is_err().then_some("this is no IPv6 address");
    }
    if host.contains("://") || host.contains('/') {
        return Some("a host is a name alone, without `https://` and path");
    }
    if host.contains(':') {
        return Some("a host is a name alone, without port");
    }
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    if !host.is_ascii() {
        return Some("write the name in its ASCII form (`xn--...`)");
    }
    let fine = host.len() <= 253 && host.split('.').all(is_label);
    (!fine).then_some("this is no host name")
}

/// A Host field: a host, with a port or without (RFC 9110 section 7.2).
pub fn host_field_error(field: &str) -> Option<&'static str> {
    let host = match field.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => {
            if port.is_empty() || port.parse::<u16>().is_err() || port.starts_with('+') {
                return Some("the port is no number from 0 to 65535");
            }
            host
        }
        _ => field,
    };
    host_error(host)
}

/// `/exact` or `/prefix/*`, in the form that paths have when they are matched.
pub fn path_pattern_error(pattern: &str) -> Option<&'static str> {
    if !pattern.starts_with('/') {
        return Some("a path starts with `/`");
    }
    let path = pattern.strip_suffix("/*").unwrap_or(pattern);
    if path.contains('*') {
        return Some("`*` stands at the end only, after a `/`: `/api/*`; for more, write { regex: ... }");
    }
    if path.contains(['?', '#']) {
        return Some("a path has no `?` and no `#`; queries are matched by `query`");
    }
    if path.bytes().any(|b| b <= b' ' || b == 0x7f) {
        return Some("a path has no spaces and no control characters");
    }
    let normal = !path.contains("//") && !path.split('/').any(|segment| segment == "." || segment == "..");
    (!normal).then_some("no request has this path: `//`, `.` and `..` are resolved before matching")
}

/// A prefix as `rewrite` and health checks take it.
pub fn plain_path_error(path: &str) -> Option<&'static str> {
    if !path.starts_with('/') {
        return Some("a path starts with `/`");
    }
    let fine = path.bytes().all(|b| (0x21..0x7f).contains(&b));
    (!fine).then_some("a path has no spaces, control characters or letters beyond ASCII; write them as `%20`")
}

/// Where a redirect goes: a path or an http URL.
pub fn redirect_target_error(target: &str) -> Option<&'static str> {
    let rest = target.strip_prefix("https://").or_else(|| target.strip_prefix("http://"));
    let starts_well = match rest {
        Some(rest) => !rest.is_empty() && !rest.starts_with('/'),
        // `//host` would leave the site without saying so.
        None => target.starts_with('/') && !target.starts_with("//"),
    };
    if !starts_well {
        return Some("a redirect goes to a path that starts with `/`, or to a URL that starts with `https://`");
    }
    let fine = target.bytes().all(|b| (0x21..0x7f).contains(&b));
    (!fine).then_some("a URL has no spaces, control characters or letters beyond ASCII; write them as `%20`")
}

/// Why a regular expression does not compile, in one line and without quoting it.
pub fn regex_error(pattern: &str) -> Option<String> {
    match regex::Regex::new(&format!("^(?:{pattern})$")) {
        Ok(_) => None,
        Err(regex::Error::Syntax(text)) => {
            let last = text.lines().last().unwrap_or_default();
            Some(last.strip_prefix("error: ").unwrap_or(last).to_owned())
        }
        Err(_) => Some("it is too large".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_names_or_addresses_with_at_most_one_star_in_front() {
        for host in ["example.com", "*.example.com", "localhost", "10.0.0.1", "[::1]", "a_b.c", "A.B"] {
            assert_eq!(host_pattern_error(host), None, "{host}");
        }
        for host in ["", "*", "a.*.b", "*example.com", "a:80", "http://a", "a/b", "-a", "a..b", "*.10.0.0.1", "[x]", "ü.de"] {
            assert!(host_pattern_error(host).is_some(), "{host}");
        }
        assert_eq!(host_field_error("api.internal:8080"), None);
        assert_eq!(host_field_error("[::1]"), None);
        assert!(host_field_error("a:b").is_some() && host_field_error("a:").is_some());
    }

    #[test]
    fn paths_are_exact_or_end_in_a_star() {
        for path in ["/", "/*", "/api", "/api/*", "/a%20b", "/a/.well-known/x"] {
            assert_eq!(path_pattern_error(path), None, "{path}");
        }
        for path in ["", "api", "/a*", "/a/*/b", "/a?b", "/a//b", "/a/../b", "/a b", "*", "/a/**"] {
            assert!(path_pattern_error(path).is_some(), "{path}");
        }
    }

    #[test]
    fn a_regex_error_is_one_line() {
        assert_eq!(regex_error("/a/[0-9]+"), None);
        assert_eq!(regex_error("/a/(").as_deref(), Some("unclosed group"));
        assert_eq!(regex_error("x)(?:y").as_deref(), Some("unopened group"));
    }

    #[test]
    fn redirects_stay_on_http() {
        for target in ["/new/", "https://example.com/", "http://a"] {
            assert_eq!(redirect_target_error(target), None, "{target}");
        }
        for target in ["new", "//evil.example", "javascript:alert(1)", "https://", "/a b", "/a\r\nx: y"] {
            assert!(redirect_target_error(target).is_some(), "{target}");
        }
    }
}
