//! Transfer-Encoding of requests (RFC 9112 section 6.1): exactly `chunked`, once, in HTTP/1.1.

use crate::case::{Case, Seen::*, passed, refused, refused_as};

/// A POST with these fields and the chunked body `abc`.
fn post(fields: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
}

const UNKNOWN: &[u16] = &[501, 400];

#[rustfmt::skip] // one line each
pub fn cases() -> Vec<Case> {
    vec![
        passed("coding-chunked", post("Transfer-Encoding: chunked"), &[Body("abc"), Has("transfer-encoding", "chunked"), Lacks("content-length")], "RFC 9112 6.1: the plain case"),
        passed("coding-case", post("transfer-encoding: CHUNKED"), &[Body("abc"), Has("transfer-encoding", "chunked")], "RFC 9112 7: codings are case-insensitive"),
        passed("coding-white-space-around", post("Transfer-Encoding: \tchunked \t"), &[Body("abc")], "RFC 9112 5: OWS is not part of the value"),
        passed("coding-no-space", post("Transfer-Encoding:chunked"), &[Body("abc")], "RFC 9112 5: OWS may be nothing"),
        passed("coding-of-get", "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", &[Body("abc"), Lines(&["GET / HTTP/1.1"])], "RFC 9110 9.3.1: unusual, but framed"),
        refused("coding-gzip", 501, post("Transfer-Encoding: gzip"), "RFC 9112 6.1: a coding that is not understood"),
        refused("coding-gzip-chunked", 501, post("Transfer-Encoding: gzip, chunked"), "RFC 9112 6.1: a coding that is not understood"),
        refused("coding-unknown", 501, post("Transfer-Encoding: xchunked"), "RFC 9112 6.1: a coding that is not understood"),
        refused_as("coding-chunked-gzip", UNKNOWN, post("Transfer-Encoding: chunked, gzip"), "RFC 9112 6.3: chunked is not final, so there is no length; 400"),
        refused_as("coding-identity", UNKNOWN, post("Transfer-Encoding: identity"), "gone since RFC 7230; some still read it as no coding"),
        refused_as("coding-chunked-identity", UNKNOWN, post("Transfer-Encoding: chunked, identity"), "RFC 9112 6.3: chunked is not final"),
        refused_as("coding-identity-chunked", UNKNOWN, post("Transfer-Encoding: identity, chunked"), "gone since RFC 7230"),
        refused_as("coding-chunked-twice", UNKNOWN, post("Transfer-Encoding: chunked, chunked"), "RFC 9112 6.1: chunked MUST NOT be applied more than once"),
        refused_as("coding-two-lines", UNKNOWN, post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"), "RFC 9112 6.1: as a list of two"),
        refused_as("coding-two-lines-different", UNKNOWN, post("Transfer-Encoding: chunked\r\nTransfer-Encoding: x"), "RFC 9112 6.1: TE.TE, readers take the first or the last line"),
        refused_as("coding-two-lines-other-order", UNKNOWN, post("Transfer-Encoding: x\r\nTransfer-Encoding: chunked"), "RFC 9112 6.1: TE.TE, readers take the first or the last line"),
        refused_as("coding-two-lines-one-empty", UNKNOWN, post("Transfer-Encoding:\r\nTransfer-Encoding: chunked"), "RFC 9112 6.1: TE.TE with nothing"),
        refused_as("coding-empty", UNKNOWN, post("Transfer-Encoding:"), "RFC 9112 6.1: at least one coding"),
        refused_as("coding-parameter", UNKNOWN, post("Transfer-Encoding: chunked;a=b"), "RFC 9112 7: chunked has no parameters"),
        refused_as("coding-quoted", UNKNOWN, post("Transfer-Encoding: \"chunked\""), "RFC 9112 7: a token"),
        refused_as("coding-trailing-garbage", UNKNOWN, post("Transfer-Encoding: chunked x"), "RFC 9112 7: a token"),
        refused("coding-vertical-tab", 400, post("Transfer-Encoding: \x0bchunked"), "RFC 9110 5.5: a control byte that some readers trim"),
        refused("coding-form-feed", 400, post("Transfer-Encoding: chunked\x0c"), "RFC 9110 5.5: a control byte that some readers trim"),
        refused("coding-nul", 400, post("Transfer-Encoding: chunked\0"), "RFC 9110 5.5: NUL ends strings in C"),
        refused("coding-space-before-colon", 400, post("Transfer-Encoding : chunked"), "RFC 9112 5.1: the classic way to smuggle"),
        refused("coding-indented", 400, post("X: y\r\n Transfer-Encoding: chunked"), "RFC 9112 5.2: a fold for one reader, a field for the other"),
        refused("coding-obs-fold", 400, post("Transfer-Encoding:\r\n chunked"), "RFC 9112 5.2: a folded coding"),
        refused("coding-behind-bare-cr", 400, post("X: y\rTransfer-Encoding: chunked"), "RFC 9112 2.2: a field for those who take CR for a line's end"),
        refused("coding-behind-bare-lf", 400, post("X: y\nTransfer-Encoding: chunked"), "RFC 9112 2.2: a field for those who take LF for a line's end"),
        refused("coding-in-1-0", 400, "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", "RFC 9112 6.1: faulty framing"),
        refused("coding-in-1-0-kept-alive", 400, "POST / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", "RFC 9112 6.1: faulty framing"),
        refused("coding-nominated", 400, "POST / HTTP/1.1\r\nHost: a\r\nConnection: transfer-encoding\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", "RFC 9110 7.6.1: a client must not have framing taken out"),
        passed("coding-disguised", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer_Encoding: chunked\r\n\r\nabc", &[Body("abc"), Has("content-length", "3"), Lacks("transfer_encoding")], "another name, but CGI-like servers read _ as -, so it does not go on"),
    ]
}
