//! Rules for single texts that no part has: names, and paths as they are sent. Pure.

use crate::route::Host;

/// What a name of a listener, pool, policy or route is made of.
pub const NAME: &str =
    "a name has up to 64 letters, digits, `-`, `_` and `.`, and begins with a letter, a digit or `_`";

/// Names that a user gives: fit for labels, command lines and URLs.
pub fn is_name(name: &str) -> bool {
    let fine = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    (1..=64).contains(&name.len()) && name.bytes().all(fine) && !name.starts_with(['.', '-'])
}

/// A host as a certificate is verified for it: no port.
pub fn host_error(host: &str) -> Option<String> {
    match Host::of(host.as_bytes()) {
        Ok(host) if host.port().is_none() => None,
        Ok(_) => Some("a name alone is wanted, without port".to_owned()),
        Err(error) => Some(error.to_string()),
    }
}

/// The value of a Host field: a host, with a port or without (RFC 9110 section 7.2).
pub fn host_field_error(field: &str) -> Option<String> {
    Host::of(field.as_bytes()).err().map(|error| error.to_string())
}

/// A path that Lintel itself asks for.
pub fn request_path_error(path: &str) -> Option<&'static str> {
    if !path.starts_with('/') {
        return Some("a path starts with `/`");
    }
    let fine = path.bytes().all(|b| (0x21..0x7f).contains(&b) && b != b'#');
    (!fine).then_some("a path has no spaces, `#` or letters beyond ASCII; write them as `%20`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_fit_for_labels_and_command_lines() {
        assert!(is_name("web") && is_name("api.v1") && is_name("_a-B9"));
        assert!(!is_name("") && !is_name("a b") && !is_name(".a") && !is_name("-a") && !is_name("a/b"));
        assert!(!is_name(&"a".repeat(65)) && !is_name("ü"));
    }

    #[test]
    fn a_verified_name_has_no_port_and_a_host_field_may() {
        assert_eq!(host_error("api.internal"), None);
        assert!(host_error("api.internal:80").is_some() && host_error("https://x").is_some());
        assert_eq!(host_field_error("api.internal:80"), None);
        assert!(host_field_error("a b").is_some());
    }

    #[test]
    fn a_requested_path_can_be_sent_as_it_is() {
        assert_eq!(request_path_error("/healthz?deep=1"), None);
        assert!(request_path_error("healthz").is_some() && request_path_error("/a b").is_some());
        assert!(request_path_error("/a\r\nx").is_some());
    }
}
