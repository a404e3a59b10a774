//! The Host field (RFC 9112 section 3.2, RFC 9110 section 7.2): it decides the route, so it must mean one thing.

use crate::case::{Case, Got, Seen::*, case, passed, refused};

#[rustfmt::skip] // one line each
pub fn cases() -> Vec<Case> {
    vec![
        refused("host-missing", 400, "GET / HTTP/1.1\r\n\r\n", "RFC 9112 3.2: MUST be answered 400"),
        case("host-missing-in-1-0", "GET / HTTP/1.0\r\n\r\n", "RFC 9112 3.2: HTTP/1.0 need not; the server gets exactly one, if empty").got(&[Got::Status(200), Got::Closed]).seen(&[Lines(&["GET / HTTP/1.1"])]),
        refused("host-twice-equal", 400, "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", "RFC 9112 3.2: MUST be answered 400"),
        refused("host-twice-different", 400, "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "RFC 9112 3.2: MUST be answered 400"),
        refused("host-twice-in-1-0", 400, "GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", "RFC 9112 3.2: any request message"),
        refused("host-twice-other-case", 400, "GET / HTTP/1.1\r\nHost: a\r\nhOST: b\r\n\r\n", "RFC 9110 5.1: names are case-insensitive"),
        refused("host-empty", 400, "GET / HTTP/1.1\r\nHost:\r\n\r\n", "RFC 9110 4.2.1: an http URI with an empty host is invalid"),
        refused("host-list", 400, "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", "RFC 9112 3.2: an invalid value is answered 400"),
        refused("host-with-space", 400, "GET / HTTP/1.1\r\nHost: a b\r\n\r\n", "RFC 9112 3.2: an invalid value"),
        refused("host-with-tab", 400, "GET / HTTP/1.1\r\nHost: a\tb\r\n\r\n", "RFC 9112 3.2: an invalid value"),
        refused("host-with-path", 400, "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", "RFC 9110 7.2: uri-host and port alone"),
        refused("host-with-backslash", 400, "GET / HTTP/1.1\r\nHost: a\\b\r\n\r\n", "RFC 3986 3.2.2: no backslash; some take it for a slash"),
        refused("host-with-query", 400, "GET / HTTP/1.1\r\nHost: a?b\r\n\r\n", "RFC 9110 7.2: uri-host and port alone"),
        refused("host-with-fragment", 400, "GET / HTTP/1.1\r\nHost: a#b\r\n\r\n", "RFC 9110 7.2: uri-host and port alone"),
        refused("host-with-userinfo", 400, "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", "RFC 9110 7.2: no userinfo"),
        refused("host-with-scheme", 400, "GET / HTTP/1.1\r\nHost: http://a\r\n\r\n", "RFC 9110 7.2: uri-host and port alone"),
        refused("host-with-quote", 400, "GET / HTTP/1.1\r\nHost: \"a\"\r\n\r\n", "RFC 3986 3.2.2: no quotes; it would break out of Forwarded's"),
        refused("host-with-high-byte", 400, b"GET / HTTP/1.1\r\nHost: caf\xc3\xa9\r\n\r\n", "RFC 3986 3.2.2: names are sent in A-labels"),
        refused("host-port-not-a-number", 400, "GET / HTTP/1.1\r\nHost: a:b\r\n\r\n", "RFC 3986 3.2.3: digits"),
        refused("host-port-signed", 400, "GET / HTTP/1.1\r\nHost: a:+80\r\n\r\n", "RFC 3986 3.2.3: digits"),
        refused("host-port-too-large", 400, "GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n", "no such TCP port"),
        refused("host-two-ports", 400, "GET / HTTP/1.1\r\nHost: a:80:81\r\n\r\n", "RFC 3986 3.2.2: no colon in a name"),
        refused("host-bracket-open", 400, "GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", "RFC 3986 3.2.2: an IP-literal is closed"),
        refused("host-bracket-garbage", 400, "GET / HTTP/1.1\r\nHost: [a]\r\n\r\n", "RFC 3986 3.2.2: not an IPv6 address"),
        passed("host-with-port", "GET / HTTP/1.1\r\nHost: a:8080\r\n\r\n", &[Has("host", "a:8080")], "RFC 9110 7.2: forwarded as it came"),
        passed("host-ipv4", "GET / HTTP/1.1\r\nHost: 192.0.2.1:80\r\n\r\n", &[Has("host", "192.0.2.1:80")], "RFC 3986 3.2.2: IPv4address"),
        passed("host-ipv6", "GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", &[Has("host", "[::1]:80")], "RFC 3986 3.2.2: IP-literal"),
        passed("host-upper-case", "GET / HTTP/1.1\r\nHost: A.Test\r\n\r\n", &[Has("host", "A.Test")], "matched in lower case, forwarded as it came"),
        passed("host-underscore", "GET / HTTP/1.1\r\nHost: my_app.internal\r\n\r\n", &[Has("host", "my_app.internal")], "RFC 3986 3.2.2: unreserved, and common in Docker"),
    ]
}
