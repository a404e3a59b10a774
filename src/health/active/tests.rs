//! Checks against servers that answer, refuse, or keep silent.

use tokio::io::{DuplexStream, duplex};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use super::*;

fn spec(json: &str) -> Spec {
    serde_json::from_str(json).unwrap()
}

fn check(json: &str) -> Check {
    Check::compile(&spec(json), &"app.internal:3000".parse().unwrap(), Wire::Http1)
}

fn asked(path: &str, host: Option<&str>, address: &str) -> Box<[u8]> {
    request(path, &authority(host, &address.parse().unwrap()))
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
    let text = String::from_utf8(asked("/healthz?full=1", None, "app:3000").into()).unwrap();
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        text,
        format!(
            "GET /healthz?full=1 HTTP/1.1\r\nHost: app:3000\r\nUser-Agent: lintel-health/{version}\r\n\
             Accept: */*\r\nConnection: close\r\n\r\n"
        )
    );
    let unix = String::from_utf8(asked("/", None, "unix:/run/a.sock").into()).unwrap();
    assert!(unix.contains("\r\nHost: localhost\r\n"));
    let own = String::from_utf8(asked("/", Some("api.test"), "[::1]:80").into()).unwrap();
    assert!(own.contains("\r\nHost: api.test\r\n"));
}

#[test]
fn a_path_or_host_cannot_add_lines_to_the_request() {
    let text = asked("/a b\r\nX: y", Some("h\r\nX: y"), "a:1");
    let text = String::from_utf8(text.into()).unwrap();
    assert!(text.starts_with("GET /a%20b%0D%0AX:%20y HTTP/1.1\r\nHost: hX:y\r\n"), "{text}");
}

#[tokio::test]
async fn any_2xx_passes_unless_statuses_are_listed() {
    check(r#"{ "path": "/" }"#).run(answering(b"HTTP/1.1 204 No Content\r\n\r\n")).await.unwrap();
    check(r#"{ "path": "/" }"#).run(answering(b"HTTP/1.0 200 OK\r\n\r\nhello")).await.unwrap();
    check(r#"{ "path": "/", "status": [401] }"#).run(answering(b"HTTP/1.1 401 No\r\n\r\n")).await.unwrap();
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
    assert_eq!(reason(&check, interims.as_bytes()).await, "answered a head of more than 16KiB or 256 fields");
}

#[tokio::test(start_paused = true)]
async fn the_timeout_is_for_the_whole_check() {
    let check = check(r#"{ "path": "/", "timeout": "2s" }"#);
    let start = Instant::now();
    let silent = async {
        // On the paused clock, 1.5 s go by.
        let _ =
            timeout_at(start + std::time::Duration::from_millis(1500), std::future::pending::<()>()).await;
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
    let failure = check(r#"{ "tcp": true }"#).run(UnixStream::connect("/nowhere/a.sock")).await.unwrap_err();
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

const HTTP2: Wire = Wire::Http2 { scheme: "https" };

/// A server by HTTP/2 that answers stream 1 with these frames; what it was sent comes from the second.
async fn answering_http2(frames: Vec<u8>) -> (io::Result<DuplexStream>, tokio::task::JoinHandle<Vec<u8>>) {
    let (ours, mut theirs) = duplex(64 * 1024);
    let heard = tokio::spawn(async move {
        theirs.write_all(b"\0\0\0\x04\0\0\0\0\0").await.unwrap();
        theirs.write_all(&frames).await.unwrap();
        let mut heard = Vec::new();
        theirs.read_to_end(&mut heard).await.unwrap();
        heard
    });
    (Ok(ours), heard)
}

#[tokio::test]
async fn servers_that_speak_http2_are_asked_by_it() {
    let address = "app.internal:3000".parse().unwrap();
    let check = Check::compile(&spec(r#"{ "path": "/healthz", "status": [503] }"#), &address, HTTP2);
    // `:status: 503` without its index, as a literal.
    let (stream, heard) = answering_http2(b"\0\0\x05\x01\x05\0\0\0\x01\x08\x03503".to_vec()).await;
    check.run(async { stream }).await.unwrap();
    let heard = heard.await.unwrap();
    assert!(heard.starts_with(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"));
    for text in ["/healthz", "app.internal:3000", USER_AGENT] {
        assert!(heard.windows(text.len()).any(|window| window == text.as_bytes()), "{text}");
    }
    let (stream, _) = answering_http2(b"\0\0\x01\x01\x05\0\0\0\x01\x88".to_vec()).await;
    let failure = check.run(async { stream }).await.unwrap_err();
    assert_eq!(failure.to_string(), "status 200, expected 503");
}

#[tokio::test]
async fn the_health_service_is_asked_for_its_word() {
    let address = "app.internal:3000".parse().unwrap();
    let check = Check::compile(&spec(r#"{ "grpc": "shop.Cart" }"#), &address, HTTP2);
    let said = |serving: u8| {
        // `:status: 200` and `content-type: application/grpc`.
        let head = b"\0\0\x14\x01\x04\0\0\0\x01\x88\x0f\x10\x10application/grpc";
        let message = [b"\0\0\x07\0\0\0\0\0\x01\0\0\0\0\x02\x08".as_slice(), &[serving]].concat();
        let trailers = b"\0\0\x0f\x01\x05\0\0\0\x01\0\x0bgrpc-status\x010";
        [head, &*message, trailers].concat()
    };
    let (stream, heard) = answering_http2(said(1)).await;
    check.run(async { stream }).await.unwrap();
    let heard = heard.await.unwrap();
    for text in
        ["/grpc.health.v1.Health/Check", "application/grpc", "trailers", "\0\0\0\0\x0b\x0a\x09shop.Cart"]
    {
        assert!(heard.windows(text.len()).any(|window| window == text.as_bytes()), "{text:?}");
    }
    let (stream, _) = answering_http2(said(2)).await;
    let failure = check.run(async { stream }).await.unwrap_err();
    assert_eq!(failure.to_string(), "answered NOT_SERVING");
    assert_eq!(failure.outcome(), CheckOutcome::NotServing);
}
