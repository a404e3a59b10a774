//! Content-Length (RFC 9110 section 8.6, RFC 9112 section 6): one number that everybody reads alike, or nothing.

use crate::case::{Case, Got, Seen::*, Setup, case, passed, refused, refused_as};

const POST: &str = "POST / HTTP/1.1\r\nHost: a\r\n";

/// A POST with these fields and the body `abc`.
fn post(fields: &str) -> String {
    format!("{POST}{fields}\r\n\r\nabc")
}

#[rustfmt::skip] // one line each
pub fn cases() -> Vec<Case> {
    vec![
        passed("length-plain", post("Content-Length: 3"), &[Body("abc"), Has("content-length", "3")], "RFC 9110 8.6: the plain case"),
        passed("length-zero", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", &[Body(""), Has("content-length", "0")], "RFC 9110 8.6: a POST without content says so"),
        passed("length-of-get", "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", &[Body("abc"), Lines(&["GET / HTTP/1.1"])], "RFC 9110 9.3.1: unusual, but framed; dropping the body would leave it as a next request"),
        passed("length-missing-of-post", "POST / HTTP/1.1\r\nHost: a\r\n\r\n", &[Body(""), Lines(&["POST / HTTP/1.1"])], "RFC 9112 6.3: without both fields there is no body"),
        passed("length-white-space-around", post("Content-Length:  \t3 \t"), &[Body("abc")], "RFC 9112 5: OWS is not part of the value"),
        passed("length-leading-zeros", post("Content-Length: 0003"), &[Body("abc")], "RFC 9110 8.6: 1*DIGIT"),
        passed("length-name-case", post("cOnTeNt-lEnGtH: 3"), &[Body("abc")], "RFC 9110 5.1: names are case-insensitive"),
        refused("length-twice-equal", 400, post("Content-Length: 3\r\nContent-Length: 3"), "RFC 9110 8.6 lets us choose; Lintel repairs nothing"),
        refused("length-twice-different", 400, post("Content-Length: 3\r\nContent-Length: 4"), "RFC 9112 6.3: unrecoverable"),
        refused("length-twice-other-case", 400, post("Content-Length: 3\r\ncontent-length: 0"), "RFC 9112 6.3: unrecoverable"),
        refused("length-list-equal", 400, post("Content-Length: 3, 3"), "RFC 9110 8.6 lets us choose; Lintel repairs nothing"),
        refused("length-list-different", 400, post("Content-Length: 3, 4"), "RFC 9112 6.3: unrecoverable"),
        refused("length-list-with-empty-member", 400, post("Content-Length: 3,"), "RFC 9110 8.6: digits alone"),
        refused("length-plus-sign", 400, post("Content-Length: +3"), "RFC 9110 8.6: digits alone; many number parsers take it"),
        refused("length-minus-sign", 400, post("Content-Length: -3"), "RFC 9110 8.6: digits alone"),
        refused("length-minus-zero", 400, post("Content-Length: -0"), "RFC 9110 8.6: digits alone"),
        refused("length-hexadecimal", 400, post("Content-Length: 0x3"), "RFC 9110 8.6: digits alone"),
        refused("length-hexadecimal-digit", 400, post("Content-Length: a"), "RFC 9110 8.6: digits alone"),
        refused("length-fraction", 400, post("Content-Length: 3.0"), "RFC 9110 8.6: digits alone"),
        refused("length-exponent", 400, post("Content-Length: 3e0"), "RFC 9110 8.6: digits alone"),
        refused("length-inner-space", 400, post("Content-Length: 3 3"), "RFC 9110 8.6: digits alone"),
        refused("length-underscore", 400, post("Content-Length: 1_0"), "RFC 9110 8.6: digits alone; Python and Rust literals take it"),
        refused("length-trailing-text", 400, post("Content-Length: 3 bytes"), "RFC 9110 8.6: digits alone; C's atoi takes it"),
        refused("length-parameter", 400, post("Content-Length: 3;a=b"), "RFC 9110 8.6: digits alone"),
        refused("length-quoted", 400, post("Content-Length: \"3\""), "RFC 9110 8.6: digits alone"),
        refused("length-vertical-tab", 400, post("Content-Length: \x0b3"), "RFC 9110 5.5: a control byte; C's strtol skips it"),
        refused("length-other-digits", 400, post("Content-Length: \u{663}"), "RFC 5234 B.1: DIGIT is 0 to 9"),
        refused("length-empty", 400, post("Content-Length:"), "RFC 9110 8.6: at least one digit"),
        refused("length-space-before-colon", 400, post("Content-Length : 3"), "RFC 9112 5.1: the classic way to smuggle"),
        refused("length-with-nul", 400, post("Content-Length: 3\0"), "RFC 9110 5.5: NUL ends numbers in C"),
        refused("length-obs-fold", 400, post("Content-Length:\r\n 3"), "RFC 9112 5.2: a folded length"),
        refused_as("length-over-64-bits", &[400, 413], post("Content-Length: 18446744073709551619"), "2^64 + 3 wraps to 3"),
        refused_as("length-over-63-bits", &[400, 413], post("Content-Length: 9223372036854775808"), "2^63 is negative where lengths are signed"),
        refused_as("length-absurd", &[400, 413], post(&format!("Content-Length: {}", "9".repeat(200))), "no integer holds it"),
        refused("length-over-the-limit", 413, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 17\r\n\r\n", "RFC 9110 15.5.14: known from the head alone").setup(Setup::Tight),
        passed("length-at-the-limit", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 16\r\n\r\n0123456789abcdef", &[Body("0123456789abcdef")], "16 bytes where 16 are allowed").setup(Setup::Tight),
        refused("length-and-chunked", 400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "RFC 9112 6.1: CL.TE; we refuse rather than repair"),
        refused("chunked-and-length", 400, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", "RFC 9112 6.1: TE.CL, the order does not matter"),
        refused("length-zero-and-chunked", 400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "RFC 9112 6.1: CL.0"),
        refused("length-and-chunked-smuggling", 400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 30\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /admin HTTP/1.1\r\nX: ", "RFC 9112 11.2: the textbook attack"),
        refused_as("length-and-identity", &[400, 501], "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: identity\r\n\r\nabc", "RFC 9112 6.1: both fields, whatever the coding"),
        refused("length-nominated", 400, "POST / HTTP/1.1\r\nHost: a\r\nConnection: content-length\r\nContent-Length: 3\r\n\r\nabc", "RFC 9110 7.6.1: a client must not have framing taken out"),
        case("length-too-short-a-body", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc", "RFC 9112 8: an incomplete request; the client is gone, and 400 is allowed").half_closed().got(&[Got::May(400), Got::Closed]).seen(&[NoWhole]),
        case("length-too-long-a-body", post("Content-Length: 2"), "RFC 9112 6.3: what is beyond the length begins a next request, and `c` is none").half_closed().got(&[Got::Status(200), Got::May(400), Got::Closed]).seen(&[Body("ab"), Lines(&["POST / HTTP/1.1"])]),
        case("length-hides-a-request", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 36\r\n\r\nGET /admin HTTP/1.1\r\nHost: a\r\n\r\nabcd", "RFC 9112 6.3: what is inside the length is content").got(&[Got::Status(200), Got::Kept]).seen(&[Body("GET /admin HTTP/1.1\r\nHost: a\r\n\r\nabcd"), Lines(&["POST / HTTP/1.1"])]),
    ]
}
