//! One check of one server: a GET and its status, or a connection alone.
//!
//! It takes a connection in the making, so it is the same over TCP, unix sockets and TLS. It decides about
//! this one check only; what checks in a row mean is `threshold`'s rule, and when to check is `control`'s.

use std::future::Future;
use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout_at};

use crate::health::Spec;
use crate::net::Address;
use crate::observe::metrics::CheckOutcome;
use crate::units::Duration;

/// Bytes of all response heads of one check, those of 1xx included.
const HEAD_LIMIT: usize = 16 * 1024;
/// Fields of one response head; a server that sends more is not a server that is well.
const FIELD_LIMIT: usize = 256;

/// A check that is ready to be made again and again.
#[derive(Clone, Debug)]
pub struct Check {
    /// The whole request; none when connecting is all there is to it.
    request: Option<Box<[u8]>>,
    expected: Expected,
    timeout: Duration,
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
}

impl Check {
    /// The check that `spec` asks of the server written as `address`.
    pub fn compile(spec: &Spec, address: &Address) -> Self {
        let request = match (&spec.path, spec.tcp) {
            (Some(path), false) => Some(request(path, spec.host.as_deref(), address)),
            _ => None,
        };
        let expected = match &spec.status {
            Some(statuses) => Expected::Listed(statuses.as_slice().into()),
            None => Expected::Success,
        };
        Self { request, expected, timeout: spec.timeout }
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
        let Some(request) = &self.request else { return Ok(()) };
        let status = match timeout_at(deadline, ask(stream, request)).await {
            Ok(answered) => answered?,
            Err(_) => return Err(Failure::AnswerTimeout(self.timeout)),
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
            Self::Status { .. } => CheckOutcome::Status,
            Self::NotHttp | Self::HeadTooLarge => CheckOutcome::BadResponse,
            Self::Closed | Self::ClosedWithin | Self::Broken(_) => CheckOutcome::Reset,
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

fn request(path: &str, host: Option<&str>, address: &Address) -> Box<[u8]> {
    let host = match (host, address) {
        (Some(host), _) => host.to_owned(),
        // A path is no host; `localhost` is what servers on unix sockets are usually asked for.
        (None, Address::Unix(_)) => "localhost".to_owned(),
        (None, address) => address.to_string(),
    };
    let mut target = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_graphic() {
            target.push(char::from(byte));
        } else {
            target.push_str(&format!("%{byte:02X}"));
        }
    }
    let host: String = host.chars().filter(char::is_ascii_graphic).collect();
    format!(
        "GET {target} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: lintel-health/{}\r\nAccept: */*\r\nConnection: close\r\n\r\n",
        env!("CARGO_PKG_VERSION")
    )
    .into_bytes()
    .into()
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
mod tests {
    use tokio::io::{DuplexStream, duplex};
    use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

    use super::*;

    fn spec(json: &str) -> Spec {
        serde_json::from_str(json).unwrap()
    }

    fn check(json: &str) -> Check {
        Check::compile(&spec(json), &"app.internal:3000".parse().unwrap())
    }

    /// A server that reads one request, answers these bytes and closes.
    async fn answering(answer: &'static [u8]) -> io::Result<DuplexStream> {
        let (ours, mut theirs) = duplex(64 * 1024);
        tokio::spawn(async move {
            let mut request = [0; 1024];
            let _ = theirs.read(&mut request).await;
            let _ = theirs.write_all(answer).await;
        });
        Ok(ours)
    }

    async fn reason(check: &Check, answer: &'static [u8]) -> String {
        check.run(answering(answer)).await.unwrap_err().to_string()
    }

    #[test]
    fn the_request_names_the_server_as_written_and_ourselves() {
        let text =
            String::from_utf8(request("/healthz?full=1", None, &"app:3000".parse().unwrap()).into()).unwrap();
        let version = env!("CARGO_PKG_VERSION");
        assert_eq!(
            text,
            format!(
                "GET /healthz?full=1 HTTP/1.1\r\nHost: app:3000\r\nUser-Agent: lintel-health/{version}\r\n\
                 Accept: */*\r\nConnection: close\r\n\r\n"
            )
        );
        let unix =
            String::from_utf8(request("/", None, &"unix:/run/a.sock".parse().unwrap()).into()).unwrap();
        assert!(unix.contains("\r\nHost: localhost\r\n"));
        let own =
            String::from_utf8(request("/", Some("api.test"), &"[::1]:80".parse().unwrap()).into()).unwrap();
        assert!(own.contains("\r\nHost: api.test\r\n"));
    }

    #[test]
    fn a_path_or_host_cannot_add_lines_to_the_request() {
        let text = request("/a b\r\nX: y", Some("h\r\nX: y"), &"a:1".parse().unwrap());
        let text = String::from_utf8(text.into()).unwrap();
        assert!(text.starts_with("GET /a%20b%0D%0AX:%20y HTTP/1.1\r\nHost: hX:y\r\n"), "{text}");
    }

    #[tokio::test]
    async fn any_2xx_passes_unless_statuses_are_listed() {
        check(r#"{ "path": "/" }"#).run(answering(b"HTTP/1.1 204 No Content\r\n\r\n")).await.unwrap();
        check(r#"{ "path": "/" }"#).run(answering(b"HTTP/1.0 200 OK\r\n\r\nhello")).await.unwrap();
        check(r#"{ "path": "/", "status": [401] }"#)
            .run(answering(b"HTTP/1.1 401 No\r\n\r\n"))
            .await
            .unwrap();
        assert_eq!(
            reason(&check(r#"{ "path": "/" }"#), b"HTTP/1.1 503 Busy\r\n\r\n").await,
            "status 503, expected 200 to 299"
        );
        assert_eq!(
            reason(&check(r#"{ "path": "/", "status": [200, 204, 401] }"#), b"HTTP/1.1 500 No\r\n\r\n").await,
            "status 500, expected 200, 204 or 401"
        );
    }

    #[tokio::test]
    async fn interim_responses_before_the_final_one_are_skipped() {
        let answer = b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\n\r\n";
        check(r#"{ "path": "/" }"#).run(answering(answer)).await.unwrap();
        let switched = b"HTTP/1.1 101 Switching Protocols\r\n\r\n";
        assert_eq!(reason(&check(r#"{ "path": "/" }"#), switched).await, "status 101, expected 200 to 299");
    }

    #[tokio::test]
    async fn what_is_not_an_answer_is_named() {
        let check = check(r#"{ "path": "/" }"#);
        assert_eq!(reason(&check, b"SSH-2.0-OpenSSH_9.9\r\n").await, "answered bytes that are not HTTP");
        assert_eq!(reason(&check, b"").await, "closed the connection without an answer");
        assert_eq!(
            reason(&check, b"HTTP/1.1 200 OK\r\n").await,
            "closed the connection within the head of its answer"
        );
        let long = format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(HEAD_LIMIT)).leak();
        assert_eq!(reason(&check, long.as_bytes()).await, "answered a head of more than 16KiB or 256 fields");
        let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(FIELD_LIMIT + 1)).leak();
        assert_eq!(reason(&check, many.as_bytes()).await, "answered a head of more than 16KiB or 256 fields");
        let interims = "HTTP/1.1 100 Continue\r\n\r\n".repeat(1000).leak();
        assert_eq!(
            reason(&check, interims.as_bytes()).await,
            "answered a head of more than 16KiB or 256 fields"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn the_timeout_is_for_the_whole_check() {
        let check = check(r#"{ "path": "/", "timeout": "2s" }"#);
        let start = Instant::now();
        let silent = async {
            // On the paused clock, 1.5 s go by.
            let _ = timeout_at(start + std::time::Duration::from_millis(1500), std::future::pending::<()>())
                .await;
            let (ours, theirs) = duplex(1024);
            tokio::spawn(async move {
                let _kept = theirs;
                std::future::pending::<()>().await;
            });
            Ok(ours)
        };
        assert_eq!(check.run(silent).await.unwrap_err().to_string(), "no answer within 2s");
        assert_eq!(start.elapsed().as_millis() / 10, 200);
        let never = std::future::pending::<io::Result<DuplexStream>>();
        assert_eq!(check.run(never).await.unwrap_err().to_string(), "no connection within 2s");
    }

    #[tokio::test]
    async fn a_refused_connection_is_named() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        for json in [r#"{ "path": "/" }"#, r#"{ "tcp": true }"#] {
            let failure = check(json).run(TcpStream::connect(address)).await.unwrap_err();
            assert_eq!(failure.to_string(), "connection refused");
        }
        let failure =
            check(r#"{ "tcp": true }"#).run(UnixStream::connect("/nowhere/a.sock")).await.unwrap_err();
        assert_eq!(failure.to_string(), "no such socket");
    }

    #[tokio::test]
    async fn a_tcp_check_connects_and_sends_nothing() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        check(r#"{ "tcp": true }"#).run(TcpStream::connect(address)).await.unwrap();
        let (mut accepted, _) = listener.accept().await.unwrap();
        assert_eq!(accepted.read(&mut [0; 16]).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn a_server_on_a_unix_socket_is_checked_alike() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 1024];
            let length = stream.read(&mut request).await.unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
            String::from_utf8_lossy(&request[..length]).into_owned()
        });
        check(r#"{ "path": "/healthz" }"#).run(UnixStream::connect(&path)).await.unwrap();
        assert!(server.await.unwrap().starts_with("GET /healthz HTTP/1.1\r\n"));
    }
}
