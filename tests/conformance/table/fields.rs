//! Field lines (RFC 9112 section 5, RFC 9110 section 5).

use crate::case::{Case, Seen::*, Setup, passed, refused, refused_as};

#[rustfmt::skip] // one line each
pub fn cases() -> Vec<Case> {
    let eleven_fields = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(10));
    let ten_fields = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(9));
    let long_field = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "y".repeat(1024));
    let endless_field = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "y".repeat(2000));
    vec![
        passed("field-case-and-order-stay", "GET / HTTP/1.1\r\nhost: a\r\nx-OdD: 1\r\nX-b: 2\r\n\r\n", &[Bytes("x-OdD: 1\r\nX-b: 2\r\n")], "case-preserving, order-preserving: some servers look"),
        passed("field-repeated-stays-repeated", "GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\nX: 2\r\n\r\n", &[All("x", &["1", "2"])], "RFC 9110 5.3: in their order"),
        passed("field-cookies-stay-apart", "GET / HTTP/1.1\r\nHost: a\r\nCookie: a=1\r\nCookie: b=2\r\n\r\n", &[All("cookie", &["a=1", "b=2"])], "RFC 6265 5.4 wants one; joining is not ours"),
        passed("field-empty-value", "GET / HTTP/1.1\r\nHost: a\r\nX:\r\n\r\n", &[Has("x", "")], "RFC 9112 5: a value may be empty"),
        passed("field-only-white-space", "GET / HTTP/1.1\r\nHost: a\r\nX: \t \r\n\r\n", &[Has("x", "")], "RFC 9112 5: OWS is not part of the value"),
        passed("field-white-space-around", "GET / HTTP/1.1\r\nHost: a\r\nX: \t b c \t\r\n\r\n", &[Has("x", "b c")], "RFC 9112 5: OWS is not part of the value"),
        passed("field-no-space-after-colon", "GET / HTTP/1.1\r\nHost:a\r\nX:b\r\n\r\n", &[Has("x", "b"), Has("host", "a")], "RFC 9112 5: OWS may be nothing"),
        passed("field-colon-in-value", "GET / HTTP/1.1\r\nHost: a\r\nX: b:c: d\r\n\r\n", &[Has("x", "b:c: d")], "RFC 9112 5: the first colon counts"),
        passed("field-obs-text", b"GET / HTTP/1.1\r\nHost: a\r\nX: caf\xe9\r\n\r\n", &[Has("x", "caf\u{e9}")], "RFC 9110 5.5: obs-text goes on as it came"),
        passed("field-tab-in-value", "GET / HTTP/1.1\r\nHost: a\r\nX: b\tc\r\n\r\n", &[Has("x", "b\tc")], "RFC 9110 5.5: HTAB may stand inside"),
        passed("field-name-every-sign", "GET / HTTP/1.1\r\nHost: a\r\n!#$%&'*+-.^`|~9: b\r\n\r\n", &[Has("!#$%&'*+-.^`|~9", "b")], "RFC 9110 5.6.2: a name is any token"),
        refused("field-space-before-colon", 400, "GET / HTTP/1.1\r\nHost: a\r\nX : b\r\n\r\n", "RFC 9112 5.1: MUST be answered 400"),
        refused("field-tab-before-colon", 400, "GET / HTTP/1.1\r\nHost: a\r\nX\t: b\r\n\r\n", "RFC 9112 5.1: MUST be answered 400"),
        refused("field-obs-fold-space", 400, "GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n", "RFC 9112 5.2: refused, the better of the two choices"),
        refused("field-obs-fold-tab", 400, "GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n\tc\r\n\r\n", "RFC 9112 5.2: refused"),
        refused("field-obs-fold-empty", 400, "GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n \r\n\r\n", "RFC 9112 5.2: a fold of nothing is one"),
        refused("field-first-line-indented", 400, "GET / HTTP/1.1\r\n Host: a\r\n\r\n", "RFC 9112 2.2: white space between the line and the first field"),
        refused("field-first-line-indented-extra", 400, "GET / HTTP/1.1\r\n X: b\r\nHost: a\r\n\r\n", "RFC 9112 2.2: reject, or drop such lines; dropping hides them from us alone"),
        refused("field-without-colon", 400, "GET / HTTP/1.1\r\nHost: a\r\nHello\r\n\r\n", "RFC 9112 5: a field has a colon"),
        refused("field-name-empty", 400, "GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n", "RFC 9110 5.1: a name has at least one char"),
        refused("field-name-with-space", 400, "GET / HTTP/1.1\r\nHost: a\r\nX y: b\r\n\r\n", "RFC 9110 5.1: a name is a token"),
        refused("field-name-with-slash", 400, "GET / HTTP/1.1\r\nHost: a\r\nX/y: b\r\n\r\n", "RFC 9110 5.1: a name is a token"),
        refused("field-name-with-parenthesis", 400, "GET / HTTP/1.1\r\nHost: a\r\nX(: b\r\n\r\n", "RFC 9110 5.1: a name is a token"),
        refused("field-name-with-high-byte", 400, b"GET / HTTP/1.1\r\nHost: a\r\nX\xe9: b\r\n\r\n", "RFC 9110 5.1: a name is a token"),
        refused("field-name-with-nul", 400, "GET / HTTP/1.1\r\nHost: a\r\nX\0: b\r\n\r\n", "RFC 9110 5.1: a name is a token"),
        refused("field-name-with-del", 400, "GET / HTTP/1.1\r\nHost: a\r\nX\x7f: b\r\n\r\n", "RFC 9110 5.1: a name is a token"),
        refused("field-value-with-nul", 400, "GET / HTTP/1.1\r\nHost: a\r\nX: b\0c\r\n\r\n", "RFC 9110 5.5: NUL is invalid and dangerous"),
        refused("field-value-with-bare-cr", 400, "GET / HTTP/1.1\r\nHost: a\r\nX: b\rc\r\n\r\n", "RFC 9110 5.5: CR is invalid and dangerous"),
        refused("field-value-with-cr-cr-lf", 400, "GET / HTTP/1.1\r\nHost: a\r\nX: b\r\r\n\r\n", "RFC 9112 2.2: a bare CR before the line's end"),
        refused("field-value-with-bare-lf", 400, "GET / HTTP/1.1\r\nHost: a\r\nX: b\nY: c\r\n\r\n", "a second field for those who take LF for a line's end"),
        refused("field-value-with-control-byte", 400, "GET / HTTP/1.1\r\nHost: a\r\nX: b\x01c\r\n\r\n", "RFC 9110 5.5: no control bytes but HTAB"),
        refused("field-value-with-escape", 400, "GET / HTTP/1.1\r\nHost: a\r\nX: \x1b[31m\r\n\r\n", "RFC 9110 5.5: no control bytes; this one colours terminals"),
        refused("field-value-with-del", 400, "GET / HTTP/1.1\r\nHost: a\r\nX: b\x7fc\r\n\r\n", "RFC 9110 5.5: DEL is a control byte"),
        refused("field-end-bare-lf", 400, "GET / HTTP/1.1\r\nHost: a\r\n\n", "the empty line ends in CRLF as well"),
        refused("field-bare-cr-line-ends", 400, "GET / HTTP/1.1\rHost: a\rX: b\r\r\n\r\n", "RFC 9112 2.2: CR alone ends nothing"),
        refused("fields-over-the-limit", 431, eleven_fields, "RFC 6585 5: 11 fields where 10 are allowed").setup(Setup::Tight),
        passed("fields-at-the-limit", ten_fields, &[Lines(&["GET / HTTP/1.1"])], "10 fields where 10 are allowed").setup(Setup::Tight),
        refused("head-over-the-limit", 431, long_field, "RFC 6585 5: more than 1 KiB").setup(Setup::Tight),
        refused_as("head-without-end", &[431], endless_field, "refused before the head ends: no end is needed to know").setup(Setup::Tight),
    ]
}
