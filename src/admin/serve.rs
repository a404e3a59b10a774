//! Serves the pages through a door: accepts, bounds connections and time, speaks HTTP/1.1 by hyper.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use hyper::body::{Body as _, Incoming};
use hyper::header::{ALLOW, HeaderValue, WWW_AUTHENTICATE};
use hyper::http::request::Parts;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::door::{Door, Listener, Reach};
use super::guard::{Caller, Guard, Place, Refusal};
use super::locks::Locks;
use super::office::{JSON, refuse};
use super::openapi;
use super::order::{NoOrder, Order, find};
use super::page::{Page, Surface, answer, page};
use super::patient::Patient;
use crate::net::Transport;

/// Connections at once through one door; the next ones wait to be accepted.
const CONNECTIONS: usize = 64;
/// Bytes of a request's head; more is answered 431. The least that hyper can be told.
const HEAD_LIMIT: usize = 8 * 1024;
/// For a whole head, silence between two requests included, and for a peer to take any of its answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// After a failed accept, which is mostly for want of files and would fail again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What the connections of a door have in common.
struct Rules {
    place: Place,
    reach: Reach,
    locks: Arc<ArcSwap<Locks>>,
}

/// Whether newcomers are let in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Entry {
    #[default]
    Free,
    /// They wait in the queue of the socket, for whoever accepts from it.
    Held,
}

/// Serves until it is dropped, and all its connections with it. Fails only at once, without a tokio runtime for IO.
pub async fn serve(door: Door, surface: Arc<Surface>, entry: watch::Receiver<Entry>) -> io::Result<()> {
    let rules = Arc::new(Rules { place: door.place, reach: door.reach, locks: door.locks });
    match door.listener {
        Listener::Tcp(listener) => {
            let listener = TcpListener::from_std(listener)?;
            run(|cx| listener.poll_accept(cx).map_ok(|(stream, _)| stream.into()), rules, surface, entry)
                .await
        }
        Listener::Unix(listener, _file) => {
            let listener = UnixListener::from_std(listener)?;
            run(|cx| listener.poll_accept(cx).map_ok(|(stream, _)| stream.into()), rules, surface, entry)
                .await
        }
    }
}

async fn run(
    mut accept: impl FnMut(&mut Context<'_>) -> Poll<io::Result<Transport>>,
    rules: Arc<Rules>,
    surface: Arc<Surface>,
    mut entry: watch::Receiver<Entry>,
) -> io::Result<()> {
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return Ok(()) };
        let accepted = tokio::select! {
            biased;
            () = becomes(&mut entry, Entry::Held) => {
                becomes(&mut entry, Entry::Free).await;
                continue;
            }
            accepted = poll_fn(&mut accept) => accepted,
        };
        match accepted {
            Ok(stream) => {
                let (rules, surface) = (Arc::clone(&rules), Arc::clone(&surface));
                connections.spawn(async move {
                    enter(stream, &rules, &surface).await;
                    drop(slot);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection of the control interface");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
        while connections.try_join_next().is_some() {}
    }
}

async fn becomes(entry: &mut watch::Receiver<Entry>, wanted: Entry) {
    if entry.wait_for(|entry| *entry == wanted).await.is_err() {
        // Nobody says so any more.
        std::future::pending::<()>().await;
    }
}

/// Through TLS, where that is asked for.
async fn enter(stream: Transport, rules: &Rules, surface: &Surface) {
    let locks = rules.locks.load_full();
    let Some(tls) = locks.tls.as_ref().filter(|_| rules.place != Place::Own) else {
        return converse(stream, rules, Caller::Anybody, surface).await;
    };
    match tokio::time::timeout(PATIENCE, tls.accept(stream)).await {
        Ok(Ok((stream, session))) => {
            let caller = if session.client.is_some() { Caller::Certified } else { Caller::Anybody };
            converse(stream, rules, caller, surface).await;
        }
        Ok(Err(error)) => tracing::debug!(%error, "a handshake of the control interface failed"),
        Err(_) => tracing::debug!("a handshake of the control interface took too long"),
    }
}

/// What a request comes with besides its head.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Content {
    Empty,
    Some,
}

/// An order where orders are taken, else a page.
async fn respond(head: &Parts, content: Content, rules: &Rules, caller: Caller, surface: &Surface) -> Page {
    if rules.reach == Reach::ReadOnly {
        return answer(head, surface);
    }
    let locks = rules.locks.load_full();
    let guard = Guard { place: rules.place, token: locks.token.as_ref() };
    let outcome = match guard.admit(head, caller) {
        Err(refusal) => Err(refusal),
        Ok(()) => match find(&head.method, head.uri.path()) {
            Err(no_order) => return no_answer(no_order),
            Ok(operation) => guard.permit(head, caller, operation.effect).map(|()| operation),
        },
    };
    let operation = match outcome {
        Ok(operation) => operation,
        Err(refusal) => return refused(&refusal, surface),
    };
    if content == Content::Some {
        let why = "send no body; parameters go into the query";
        return refuse(StatusCode::PAYLOAD_TOO_LARGE, why);
    }
    let order = match Order::read(operation, head.uri.path(), head.uri.query().unwrap_or_default()) {
        Ok(order) => order,
        Err(no_order) => return no_answer(no_order),
    };
    match order {
        Order::Page => answer(head, surface),
        Order::OpenApi => page(StatusCode::OK, JSON, openapi::text()),
        order => match surface.office.get() {
            Some(office) => office.carry_out(order).await.unwrap_or_else(|| answer(head, surface)),
            None => refuse(StatusCode::SERVICE_UNAVAILABLE, "Lintel is starting; ask again in a moment"),
        },
    }
}

fn refused(refusal: &Refusal, surface: &Surface) -> Page {
    surface.refused.note(refusal, Instant::now());
    let mut page = refuse(refusal.status, refusal.why);
    if refusal.status == StatusCode::UNAUTHORIZED {
        page.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    page
}

fn no_answer(no_order: NoOrder) -> Page {
    match no_order {
        NoOrder::Unknown => refuse(
            StatusCode::NOT_FOUND,
            "there is nothing at this path; GET /openapi.json says what there is",
        ),
        NoOrder::Wrong(why) => refuse(StatusCode::BAD_REQUEST, &why),
        NoOrder::Method(allowed) => {
            let mut page = refuse(StatusCode::METHOD_NOT_ALLOWED, &format!("only {allowed} here"));
            if let Ok(allowed) = HeaderValue::try_from(allowed) {
                page.headers_mut().insert(ALLOW, allowed);
            }
            page
        }
    }
}

/// One connection, from its first request to its end.
async fn converse<S>(stream: S, rules: &Rules, caller: Caller, surface: &Surface)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let service = service_fn(|request: Request<Incoming>| {
        let (head, body) = request.into_parts();
        let content = if body.is_end_stream() { Content::Empty } else { Content::Some };
        async move { Ok::<_, Infallible>(respond(&head, content, rules, caller, surface).await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .max_buf_size(HEAD_LIMIT)
        .serve_connection(TokioIo::new(Patient::new(stream, PATIENCE)), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a connection of the control interface ended early");
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio::net::{TcpStream, UnixStream};
    use tokio::sync::watch;
    use tokio::time::Instant as At;

    use super::*;
    use crate::control::Readiness;

    fn surface(metrics: &str) -> (watch::Sender<Readiness>, Arc<Surface>) {
        let (sender, receiver) = watch::channel(Readiness::Starting("first health checks".into()));
        let metrics = metrics.to_owned();
        (sender, Surface::new(move || metrics.clone(), receiver))
    }

    fn read_only() -> Rules {
        Rules { place: Place::Own, reach: Reach::ReadOnly, locks: Arc::default() }
    }

    /// Sends `bytes`, and all there is to read until the end or until `enough` holds.
    async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(
        stream: &mut S,
        bytes: &str,
        enough: &str,
    ) -> String {
        stream.write_all(bytes.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !String::from_utf8_lossy(&answer).contains(enough) {
            if stream.read_buf(&mut answer).await.unwrap_or(0) == 0 {
                break;
            }
        }
        String::from_utf8(answer).unwrap()
    }

    async fn start(door: Door, surface: Arc<Surface>) -> (String, JoinSet<io::Result<()>>) {
        let address = door.address();
        let mut serving = JoinSet::new();
        serving.spawn(serve(door, surface, watch::Sender::default().subscribe()));
        (address, serving)
    }

    async fn start_tcp(surface: Arc<Surface>) -> (String, JoinSet<io::Result<()>>) {
        start(Door::metrics(&"127.0.0.1:0".parse().unwrap()).unwrap(), surface).await
    }

    #[tokio::test]
    async fn readiness_follows_the_process_over_one_kept_connection() {
        let (readiness, surface) = surface("");
        let (address, _serving) = start_tcp(surface).await;
        let mut stream = TcpStream::connect(&address).await.unwrap();
        let ask = "GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n";
        let answer = exchange(&mut stream, ask, "checks\n").await;
        assert!(answer.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{answer}");
        assert!(answer.ends_with("\r\n\r\nstarting: first health checks\n"), "{answer}");
        readiness.send_replace(Readiness::Ready);
        let answer = exchange(&mut stream, ask, "ready\n").await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        readiness.send_replace(Readiness::Draining);
        let answer = exchange(&mut stream, ask, "draining\n").await;
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        let answer = exchange(&mut stream, "GET /livez HTTP/1.1\r\nHost: a\r\n\r\n", "ok\n").await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    }

    #[tokio::test]
    async fn metrics_carry_their_type_and_head_has_no_body() {
        let (_readiness, surface) = surface("lintel_up 1\n");
        let (address, _serving) = start_tcp(surface).await;
        let mut stream = TcpStream::connect(&address).await.unwrap();
        let answer = exchange(&mut stream, "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n", "lintel_up 1\n").await;
        assert!(answer.contains("\r\ncontent-type: text/plain; version=0.0.4\r\n"), "{answer}");
        let answer =
            exchange(&mut stream, "HEAD /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "\0")
                .await;
        assert!(answer.contains("\r\ncontent-length: 12\r\n") && answer.ends_with("\r\n\r\n"), "{answer}");
    }

    #[tokio::test]
    async fn a_large_answer_arrives_whole() {
        let text = "lintel_up 1\n".repeat(100_000) + "end\n";
        let (_readiness, surface) = surface(&text);
        let (address, _serving) = start_tcp(surface).await;
        let mut stream = TcpStream::connect(&address).await.unwrap();
        let answer =
            exchange(&mut stream, "GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "\0")
                .await;
        assert!(answer.ends_with(&text));
    }

    #[tokio::test]
    async fn what_is_no_page_is_refused() {
        let (_readiness, surface) = surface("");
        let (address, _serving) = start_tcp(surface).await;
        for (request, expected) in [
            ("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".to_owned(), "HTTP/1.1 404 "),
            (
                "POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi"
                    .to_owned(),
                "HTTP/1.1 405 ",
            ),
            ("nonsense\r\n\r\n".to_owned(), "HTTP/1.1 400 "),
            (format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(9000)), "HTTP/1.1 431 "),
        ] {
            let mut stream = TcpStream::connect(&address).await.unwrap();
            let answer = exchange(&mut stream, &request, "\0").await;
            assert!(answer.starts_with(expected), "{request:.40} {answer}");
        }
    }

    #[tokio::test]
    async fn the_admin_door_refuses_a_foreign_host_over_tcp_only() {
        let folder = tempfile::tempdir().unwrap();
        let (_readiness, surface) = surface("");
        let request = "GET /livez HTTP/1.1\r\nHost: rebound.example\r\nConnection: close\r\n\r\n";

        let tcp = Door::admin(
            Some(&"127.0.0.1:0".parse().unwrap()),
            &Arc::default(),
            &Locks::default(),
            folder.path(),
        )
        .unwrap();
        let (address, _tcp) = start(tcp, Arc::clone(&surface)).await;
        let answer = exchange(&mut TcpStream::connect(&address).await.unwrap(), request, "\0").await;
        assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");

        let unix = Door::admin(None, &Arc::default(), &Locks::default(), folder.path()).unwrap();
        let (_address, mut serving) = start(unix, surface).await;
        let path = folder.path().join("admin.sock");
        let answer = exchange(&mut UnixStream::connect(&path).await.unwrap(), request, "\0").await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        serving.shutdown().await;
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn connections_beyond_the_limit_wait_for_one_to_end() {
        let (_readiness, surface) = surface("");
        let (address, _serving) = start_tcp(surface).await;
        let ask = "GET /livez HTTP/1.1\r\nHost: a\r\n\r\n";
        let mut open = Vec::new();
        for _ in 0..CONNECTIONS {
            let mut stream = TcpStream::connect(&address).await.unwrap();
            exchange(&mut stream, ask, "ok\n").await;
            open.push(stream);
        }
        let mut late = TcpStream::connect(&address).await.unwrap();
        late.write_all(ask.as_bytes()).await.unwrap();
        let mut byte = [0];
        let early = tokio::time::timeout(Duration::from_millis(50), late.read_exact(&mut byte)).await;
        assert!(early.is_err(), "answered while all connections are taken");
        drop(open.pop());
        late.read_exact(&mut byte).await.unwrap();
        assert_eq!(&byte, b"H");
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_head_and_an_answer_that_is_not_taken_end_the_connection() {
        let start = At::now();
        let (_readiness, small) = surface("");
        let (mut client, server) = duplex(1024);
        client.write_all(b"GET /livez HT").await.unwrap();
        converse(server, &read_only(), Caller::Anybody, &small).await;
        assert_eq!(start.elapsed().as_secs(), PATIENCE.as_secs());

        let start = At::now();
        let (_readiness, large) = surface(&"x".repeat(1 << 20));
        let (mut client, server) = duplex(1024);
        client.write_all(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        converse(server, &read_only(), Caller::Anybody, &large).await;
        assert!((10..=20).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
    }
}
