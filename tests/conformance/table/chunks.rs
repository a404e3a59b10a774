//! The chunked coding of requests (RFC 9112 section 7.1).

use crate::case::{Case, Got, Seen::*, Setup, broken, case, passed};

const HEAD: &str = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";

/// A chunked POST with these bytes after its head.
fn post(chunks: &str) -> String {
    format!("{HEAD}{chunks}")
}

#[rustfmt::skip] // one line each
pub fn cases() -> Vec<Case> {
    let long_extension = format!("3;{}\r\nabc\r\n0\r\n\r\n", "x".repeat(20_000));
    let long_trailers = format!("3\r\nabc\r\n0\r\nX: {}\r\n\r\n", "y".repeat(70_000));
    let many_trailers = format!("3\r\nabc\r\n0\r\n{}\r\n", "X: y\r\n".repeat(2000));
    vec![
        passed("chunks-several", post("1\r\na\r\n2\r\nbc\r\n0\r\n\r\n"), &[Body("abc")], "RFC 9112 7.1: one after the other"),
        passed("chunks-none", post("0\r\n\r\n"), &[Body(""), Lines(&["POST / HTTP/1.1"])], "RFC 9112 7.1: the last chunk alone"),
        passed("chunks-hexadecimal", post("A\r\n0123456789\r\nb\r\n0123456789a\r\n0\r\n\r\n"), &[Body("01234567890123456789a")], "RFC 9112 7.1: HEXDIG of both cases"),
        passed("chunks-leading-zeros", post("0003\r\nabc\r\n000\r\n\r\n"), &[Body("abc")], "RFC 9112 7.1: 1*HEXDIG; the last one is 1*0"),
        passed("chunks-with-line-ends-inside", post("4\r\n\r\n\r\n\r\n0\r\n\r\n"), &[Body("\r\n\r\n")], "RFC 9112 7.1: content is counted, not read"),
        passed("chunks-hide-a-request", post("21\r\nGET /admin HTTP/1.1\r\nHost: a\r\n\r\nx\r\n0\r\n\r\n"), &[Body("GET /admin HTTP/1.1\r\nHost: a\r\n\r\nx"), Lines(&["POST / HTTP/1.1"])], "RFC 9112 7.1: content is content"),
        passed("chunks-extension", post("3;a=b\r\nabc\r\n0;c\r\n\r\n"), &[Body("abc")], "RFC 9112 7.1.1: unknown extensions are ignored, and end here"),
        passed("chunks-extension-quoted", post("3;a=\"b;c\"\r\nabc\r\n0\r\n\r\n"), &[Body("abc")], "RFC 9112 7.1.1: quoted-string"),
        passed("chunks-trailers", post("3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n"), &[Body("abc"), Trailer("X-Sum", "1")], "RFC 9112 7.1.2: forwarded behind the body"),
        passed("chunks-trailers-of-a-head", post("3\r\nabc\r\n0\r\nX-Client-Cert-Verified: SUCCESS\r\nX_Forwarded_For: 1.2.3.4\r\nX-Real-IP: 10.0.0.1\r\nX-Forwarded-Proto: https\r\nCookie: a=b\r\nX-Sum: 1\r\n\r\n"), &[Body("abc"), Trailer("X-Sum", "1"), NoTrailer("X-Client-Cert-Verified"), NoTrailer("X_Forwarded_For"), NoTrailer("X-Real-IP"), NoTrailer("X-Forwarded-Proto"), NoTrailer("Cookie")], "RFC 9110 6.5.1: a server may add trailers to the head"),
        broken("chunk-size-empty", 400, post("\r\nabc\r\n0\r\n\r\n"), "RFC 9112 7.1: at least one digit"),
        broken("chunk-size-not-hexadecimal", 400, post("g\r\nabc\r\n0\r\n\r\n"), "RFC 9112 7.1: HEXDIG"),
        broken("chunk-size-prefixed", 400, post("0x3\r\nabc\r\n0\r\n\r\n"), "RFC 9112 7.1: read as 0 by some, as 3 by others"),
        broken("chunk-size-plus-sign", 400, post("+3\r\nabc\r\n0\r\n\r\n"), "RFC 9112 7.1: HEXDIG; many number parsers take it"),
        broken("chunk-size-minus-sign", 400, post("-3\r\nabc\r\n0\r\n\r\n"), "RFC 9112 7.1: HEXDIG"),
        broken("chunk-size-underscore", 400, post("1_0\r\nabc\r\n0\r\n\r\n"), "RFC 9112 7.1: HEXDIG"),
        broken("chunk-size-leading-space", 400, post(" 3\r\nabc\r\n0\r\n\r\n"), "RFC 9112 7.1: nothing before the size"),
        broken("chunk-size-trailing-space", 400, post("3 \r\nabc\r\n0\r\n\r\n"), "RFC 9112 7.1: white space only before an extension"),
        broken("chunk-size-trailing-tab", 400, post("3\t\r\nabc\r\n0\r\n\r\n"), "RFC 9112 7.1: white space only before an extension"),
        broken("chunk-size-trailing-text", 400, post("3x\r\nabc\r\n0\r\n\r\n"), "RFC 9112 7.1: HEXDIG"),
        broken("chunk-size-fraction", 400, post("3.0\r\nabc\r\n0\r\n\r\n"), "RFC 9112 7.1: HEXDIG"),
        broken("chunk-size-over-64-bits", 400, post("10000000000000003\r\nabc\r\n0\r\n\r\n"), "RFC 9112 7.1: 2^64 + 3 wraps to 3"),
        broken("chunk-size-all-ones", 400, post("FFFFFFFFFFFFFFFF\r\nabc\r\n0\r\n\r\n"), "RFC 9112 7.1: -1 where sizes are signed; with the CRLF it wraps"),
        broken("chunk-size-many-zeros", 400, post(&format!("{}3\r\nabc\r\n0\r\n\r\n", "0".repeat(5000))), "a size line has an end, if all of it is zeros"),
        broken("chunk-size-with-nul", 400, post("3\0\r\nabc\r\n0\r\n\r\n"), "RFC 9112 7.1: HEXDIG"),
        broken("chunk-size-line-bare-lf", 400, post("3\nabc\r\n0\r\n\r\n"), "RFC 9112 7.1: CRLF; LF alone has been used to smuggle"),
        broken("chunk-size-line-bare-cr", 400, post("3\rabc\r\n0\r\n\r\n"), "RFC 9112 7.1: CRLF"),
        broken("chunk-longer-than-its-size", 400, post("2\r\nabc\r\n0\r\n\r\n"), "RFC 9112 7.1: CRLF where `c` is"),
        broken("chunk-shorter-than-its-size", 400, post("5\r\nabc\r\n0\r\n\r\n"), "RFC 9112 7.1: the size counts CRLF in, and then no CRLF comes"),
        broken("chunk-end-missing", 400, post("3\r\nabc0\r\n\r\n"), "RFC 9112 7.1: CRLF behind the content"),
        broken("chunk-end-bare-lf", 400, post("3\r\nabc\n0\r\n\r\n"), "RFC 9112 7.1: CRLF behind the content"),
        broken("chunk-end-bare-cr", 400, post("3\r\nabc\r0\r\n\r\n"), "RFC 9112 7.1: CRLF behind the content"),
        broken("chunk-end-other-bytes", 400, post("3\r\nabcXX0\r\n\r\n"), "RFC 9112 7.1: any two bytes will do for careless readers"),
        broken("chunk-extension-bare-lf", 400, post("3;a\nabc\r\n0\r\n\r\n"), "RFC 9112 7.1.1: a line's end for some, an extension for others"),
        broken("chunk-extension-bare-cr", 400, post("3;a\rb\r\nabc\r\n0\r\n\r\n"), "RFC 9112 7.1.1: a control byte"),
        broken("chunk-extension-nul", 400, post("3;a\0\r\nabc\r\n0\r\n\r\n"), "RFC 9112 7.1.1: a control byte"),
        broken("chunk-extension-too-long", 400, post(&long_extension), "RFC 9112 7.1.1: a limit on extensions"),
        broken("trailer-obs-fold", 400, post("3\r\nabc\r\n0\r\nX: y\r\n z\r\n\r\n"), "RFC 9112 5.2: as in a head"),
        broken("trailer-space-before-colon", 400, post("3\r\nabc\r\n0\r\nX : y\r\n\r\n"), "RFC 9112 5.1: as in a head"),
        broken("trailer-without-colon", 400, post("3\r\nabc\r\n0\r\nHello\r\n\r\n"), "RFC 9112 5: as in a head"),
        broken("trailer-nul", 400, post("3\r\nabc\r\n0\r\nX: \0\r\n\r\n"), "RFC 9110 5.5: as in a head"),
        broken("trailer-bare-lf", 400, post("3\r\nabc\r\n0\r\nX: y\n\r\n"), "RFC 9112 2.2: as in a head"),
        broken("trailer-end-bare-lf", 400, post("3\r\nabc\r\n0\r\n\n"), "RFC 9112 7.1: the last CRLF"),
        broken("trailer-content-length", 400, post("3\r\nabc\r\n0\r\nContent-Length: 9\r\n\r\n"), "RFC 9110 6.5.1: framing must not come late"),
        broken("trailer-transfer-encoding", 400, post("3\r\nabc\r\n0\r\nTransfer-Encoding: x\r\n\r\n"), "RFC 9110 6.5.1: framing must not come late"),
        broken("trailer-host", 400, post("3\r\nabc\r\n0\r\nHost: b\r\n\r\n"), "RFC 9110 6.5.1: routing must not come late"),
        case("trailer-forwarded-for", post("3\r\nabc\r\n0\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n"), "RFC 9110 6.5.1: who asks must not come late; refused or dropped").got(&[Got::OneOf(&[400, 200])]).seen(&[NoTrailer("X-Forwarded-For")]),
        case("trailers-too-large", post(&long_trailers), "RFC 6585 5: trailers are fields and have a limit").got(&[Got::OneOf(&[400, 431]), Got::Closed]).seen(&[NoWhole]),
        case("trailers-too-many", post(&many_trailers), "RFC 6585 5: trailers are fields and have a limit").got(&[Got::OneOf(&[400, 431]), Got::Closed]).seen(&[NoWhole]),
        case("chunks-without-a-last-one", post("3\r\nabc\r\n"), "RFC 9112 8: an incomplete request; the client is gone, and 400 is allowed").half_closed().got(&[Got::May(400), Got::Closed]).seen(&[NoWhole]),
        case("chunks-without-the-last-line", post("3\r\nabc\r\n0\r\n"), "RFC 9112 8: an incomplete request; the client is gone, and 400 is allowed").half_closed().got(&[Got::May(400), Got::Closed]).seen(&[NoWhole]),
        case("chunks-over-the-limit", post("8\r\n01234567\r\n9\r\n89abcdefg\r\n0\r\n\r\n"), "RFC 9110 15.5.14: 17 bytes where 16 are allowed").setup(Setup::Tight).got(&[Got::Status(413), Got::Closed]).seen(&[NoWhole]),
        passed("chunks-at-the-limit", post("8\r\n01234567\r\n8\r\n89abcdef\r\n0\r\n\r\n"), &[Body("0123456789abcdef")], "16 bytes where 16 are allowed, framing not counted").setup(Setup::Tight),
    ]
}
