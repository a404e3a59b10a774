//! One check of one server: a GET and its status, what gRPC's health service says, or a connection alone.
//!
//! It takes a connection in the making, so it is the same over TCP, unix sockets and TLS. It decides about
//! this one check only; what checks in a row mean is `threshold`'s rule, and when to check is `control`'s.

use std::future::Future;
use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout_at};

use super::grpc::{self, Unwell};
use super::http2;
use crate::health::Spec;
use crate::net::Address;
use crate::observe::metrics::CheckOutcome;
use crate::units::Duration;
use crate::wire::grpc::Status;
use crate::wire::h2::ErrorCode;

/// Bytes of all response heads of one check, those of 1xx included.
pub(super) const HEAD_LIMIT: usize = 16 * 1024;
/// Fields of one response head; a server that sends more is not a server that is well.
pub(super) const FIELD_LIMIT: usize = 256;

/// How checks call themselves.
const USER_AGENT: &str = concat!("lintel-health/", env!("CARGO_PKG_VERSION"));

/// How the servers of a pool are spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    Http1,
    /// A GET goes by HTTP/2 as well, since such servers may speak nothing else.
    Http2 {
        /// `http` or `https`, for `:scheme`.
        scheme: &'static str,
    },
}

/// A check that is ready to be made again and again.
#[derive(Clone, Debug)]
pub struct Check {
    question: Question,
    expected: Expected,
    timeout: Duration,
}

/// What a server is asked, as all the bytes that are sent for it.
#[derive(Clone, Debug)]
enum Question {
    /// Nothing: connecting is all there is to it.
    Connect,
    Http1(Box<[u8]>),
    Http2(Box<[u8]>),
    Grpc(Box<[u8]>),
}

/// Statuses that mean healthy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    /// 200 to 299.
    Success,
    Listed(Box<[u16]>),
}

/// Why a check failed; reads as the reason in logs.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error("{}", describe(.0))]
    Connect(io::Error),
    /// A connection in the making fails by `InvalidData` where it was the TLS handshake that failed.
    #[error("TLS handshake failed: {0}")]
    Tls(io::Error),
    #[error("no connection within {0}")]
    ConnectTimeout(Duration),
    #[error("no answer within {0}")]
    AnswerTimeout(Duration),
    #[error("status {status}, expected {expected}")]
    Status { status: u16, expected: Expected },
    #[error("answered bytes that are not HTTP")]
    NotHttp,
    #[error("answered a head of more than 16KiB or 256 fields")]
    HeadTooLarge,
    #[error("closed the connection without an answer")]
    Closed,
    #[error("closed the connection within the head of its answer")]
    ClosedWithin,
    #[error("{} before an answer", describe(.0))]
    Broken(io::Error),
    #[error("closed the connection within its answer")]
    ClosedEarly,
    #[error("answered by HTTP/1, not by HTTP/2")]
    Http1,
    #[error("answered bytes that are not HTTP/2")]
    NotHttp2,
    #[error("broke a rule of HTTP/2: {0}")]
    Http2(String),
    #[error("reset the request (RST_STREAM {})", name(*.0))]
    Reset(ErrorCode),
    #[error("ended the connection (GOAWAY {}){}", name(*.code), behind_colon(.debug))]
    GoAway { code: ErrorCode, debug: String },
    #[error("answered a body of more than 64KiB")]
    BodyTooLarge,
    /// The text says what came instead.
    #[error("{0}")]
    NotGrpc(String),
    #[error("gRPC status {}{}", .status.name(), behind_colon(.message))]
    Grpc { status: Status, message: String },
    #[error("answered {0}")]
    NotServing(Unwell),
}

impl Check {
    /// The check that `spec` asks of the server written as `address`.
    pub fn compile(spec: &Spec, address: &Address, wire: Wire) -> Self {
        let authority = authority(spec.host.as_deref(), address);
        let question = match (&spec.grpc, &spec.path, wire) {
            (Some(service), _, Wire::Http2 { scheme }) => {
                Question::Grpc(grpc_request(service, scheme, &authority))
            }
            (None, Some(path), Wire::Http2 { scheme }) if !spec.tcp => {
                Question::Http2(http2_request(path, scheme, &authority))
            }
            (None, Some(path), Wire::Http1) if !spec.tcp => Question::Http1(request(path, &authority)),
            // gRPC by HTTP/1.1 is a problem of the config, so it does not come here.
            _ => Question::Connect,
        };
        let expected = match &spec.status {
            Some(statuses) => Expected::Listed(statuses.as_slice().into()),
            None => Expected::Success,
        };
        Self { question, expected, timeout: spec.timeout }
    }

    /// Makes the check over the connection that `connecting` makes, and closes it.
    pub async fn run<S>(&self, connecting: impl Future<Output = io::Result<S>>) -> Result<(), Failure>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let deadline = Instant::now() + self.timeout.std();
        let stream = match timeout_at(deadline, connecting).await {
            Ok(connected) => connected.map_err(Failure::of_connect)?,
            Err(_) => return Err(Failure::ConnectTimeout(self.timeout)),
        };
        match timeout_at(deadline, self.ask(stream)).await {
            Ok(answered) => answered,
            Err(_) => Err(Failure::AnswerTimeout(self.timeout)),
        }
    }

    async fn ask<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S) -> Result<(), Failure> {
        let status = match &self.question {
            Question::Connect => return Ok(()),
            Question::Http1(request) => ask(stream, request).await?,
            Question::Http2(opening) => http2::status(stream, opening).await?,
            Question::Grpc(opening) => {
                let answer = http2::answer(stream, opening, grpc::begins_answer).await?;
                return grpc::verdict(&answer);
            }
        };
        if self.expected.contains(status) {
            Ok(())
        } else {
            Err(Failure::Status { status, expected: self.expected.clone() })
        }
    }
}

impl Failure {
    /// As metrics count it.
    pub fn outcome(&self) -> CheckOutcome {
        match self {
            Self::Connect(_) => CheckOutcome::Connect,
            Self::Tls(_) => CheckOutcome::Tls,
            Self::ConnectTimeout(_) => CheckOutcome::ConnectTimeout,
            Self::AnswerTimeout(_) => CheckOutcome::Timeout,
            Self::Status { .. } | Self::Grpc { .. } => CheckOutcome::Status,
            Self::NotServing(_) => CheckOutcome::NotServing,
            Self::NotHttp
            | Self::Http1
            | Self::NotHttp2
            | Self::Http2(_)
            | Self::NotGrpc(_)
            | Self::HeadTooLarge
            | Self::BodyTooLarge => CheckOutcome::BadResponse,
            Self::Closed
            | Self::ClosedWithin
            | Self::ClosedEarly
            | Self::Broken(_)
            | Self::Reset(_)
            | Self::GoAway { .. } => CheckOutcome::Reset,
        }
    }

    fn of_connect(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::InvalidData => Self::Tls(error),
            _ => Self::Connect(error),
        }
    }
}

impl Expected {
    fn contains(&self, status: u16) -> bool {
        match self {
            Self::Success => (200..=299).contains(&status),
            Self::Listed(statuses) => statuses.contains(&status),
        }
    }
}

impl std::fmt::Display for Expected {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self::Listed(statuses) = self else { return f.write_str("200 to 299") };
        for (at, status) in statuses.iter().enumerate() {
            let separator = match at {
                0 => "",
                _ if at + 1 == statuses.len() => " or ",
                _ => ", ",
            };
            write!(f, "{separator}{status}")?;
        }
        Ok(())
    }
}

/// Sends the request and reads up to the end of the final response's head; its status. The body stays unread.
async fn ask<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, request: &[u8]) -> Result<u16, Failure> {
    stream.write_all(request).await.map_err(Failure::Broken)?;
    stream.flush().await.map_err(Failure::Broken)?;
    let mut head = Vec::with_capacity(1024);
    let mut skipped = 0;
    loop {
        match stream.read_buf(&mut head).await {
            Ok(0) if head.is_empty() => return Err(Failure::Closed),
            Ok(0) => return Err(Failure::ClosedWithin),
            Ok(_) => {}
            Err(error) => return Err(Failure::Broken(error)),
        }
        while let Some((status, length)) = parse(&head)? {
            // RFC 9110 section 15.2: any number of 1xx may come first; 101 is final and nobody asked for it.
            if status >= 200 || status == 101 {
                return Ok(status);
            }
            head.drain(..length);
            skipped += length;
        }
        if skipped + head.len() >= HEAD_LIMIT {
            return Err(Failure::HeadTooLarge);
        }
    }
}

/// Status and length of a whole head, or nothing while it is not whole.
fn parse(bytes: &[u8]) -> Result<Option<(u16, usize)>, Failure> {
    let mut fields = [httparse::EMPTY_HEADER; FIELD_LIMIT];
    let mut response = httparse::Response::new(&mut fields);
    match response.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => Ok(response.code.map(|status| (status, length))),
        Ok(httparse::Status::Partial) => Ok(None),
        Err(httparse::Error::TooManyHeaders) => Err(Failure::HeadTooLarge),
        Err(_) => Err(Failure::NotHttp),
    }
}

fn request(path: &str, authority: &str) -> Box<[u8]> {
    let target = target(path);
    format!(
        "GET {target} HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: {USER_AGENT}\r\nAccept: */*\r\nConnection: close\r\n\r\n",
    )
    .into_bytes()
    .into()
}

fn http2_request(path: &str, scheme: &str, authority: &str) -> Box<[u8]> {
    let target = target(path);
    let fields = [
        (":method", "GET"),
        (":scheme", scheme),
        (":path", &target),
        (":authority", authority),
        ("user-agent", USER_AGENT),
        ("accept", "*/*"),
    ];
    http2::opening(&fields, &[])
}

fn grpc_request(service: &str, scheme: &str, authority: &str) -> Box<[u8]> {
    let fields = [
        (":method", "POST"),
        (":scheme", scheme),
        (":path", grpc::METHOD),
        (":authority", authority),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
        ("user-agent", USER_AGENT),
    ];
    http2::opening(&fields, &grpc::request(service))
}

/// A path as it can stand in a request, whatever it was.
fn target(path: &str) -> String {
    let mut target = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_graphic() {
            target.push(char::from(byte));
        } else {
            target.push_str(&format!("%{byte:02X}"));
        }
    }
    target
}

/// The server's name as it is asked for.
fn authority(host: Option<&str>, address: &Address) -> String {
    let host = match (host, address) {
        (Some(host), _) => host.to_owned(),
        // A path is no host; `localhost` is what servers on unix sockets are usually asked for.
        (None, Address::Unix(_)) => "localhost".to_owned(),
        (None, address) => address.to_string(),
    };
    host.chars().filter(char::is_ascii_graphic).collect()
}

/// An error code as the RFC writes it, in lower case; one that it does not have by its number.
fn name(code: ErrorCode) -> String {
    match code {
        ErrorCode::Other(number) => format!("{number:#x}"),
        known => known.name().to_owned(),
    }
}

fn behind_colon(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!(": {text}") }
}

/// An error as a person reads it, without the number of the system.
fn describe(error: &io::Error) -> String {
    if error.raw_os_error().is_some() && error.kind() == io::ErrorKind::NotFound {
        return "no such socket".to_owned();
    }
    let mut text = error.to_string();
    if let Some(number) = text.find(" (os error ") {
        text.truncate(number);
    }
    // The system's texts begin with a capital, unlike our own.
    if error.raw_os_error().is_some() { text.to_lowercase() } else { text }
}

#[cfg(test)]
mod tests;
