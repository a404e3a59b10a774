//! A reply that Lintel makes itself: a redirect, a fixed response, or the page of a fault.
//!
//! It is data; drivers in `wire` put it on the wire with the framing of their protocol.

use crate::wire::head::Head;

/// A whole response held in memory: always small.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Status and fields, without framing fields (Content-Length, Connection, Date).
    pub head: Head,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn new(status: u16) -> Self {
        Self { head: Head::response(status, reason(status)), body: Vec::new() }
    }

    /// With a plain text body.
    pub fn text(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self::new(status).with("Content-Type", b"text/plain; charset=utf-8").body(body)
    }

    pub fn with(mut self, name: &str, value: &[u8]) -> Self {
        self.head.add(name, value);
        self
    }

    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }
}

/// The reason phrase of a status (RFC 9110 section 15); empty for one that is not registered.
pub fn reason(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        101 => "Switching Protocols",
        103 => "Early Hints",
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        206 => "Partial Content",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Range Not Satisfiable",
        417 => "Expectation Failed",
        418 => "I'm a teapot",
        421 => "Misdirected Request",
        422 => "Unprocessable Content",
        425 => "Too Early",
        426 => "Upgrade Required",
        428 => "Precondition Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        451 => "Unavailable For Legal Reasons",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        508 => "Loop Detected",
        _ => "",
    }
}
