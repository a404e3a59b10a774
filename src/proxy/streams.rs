//! Requests of a connection by HTTP/2: each stream is an exchange in a task of its own.
//!
//! This task reads and writes for all of them, and ends the connection: in order when it is idle or Lintel drains, at
//! once when the client does what it must not.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::connection::{goodbye, record_without_request};
use super::engine::{Engine, Heads};
use super::exchange::{Peer, Start};
use super::fault::{self, Failure, head_fault, malformation};
use super::{Next, respond, serve};
use crate::life;
use crate::listener::Pass;
use crate::net::{Buffer, Deadline, Stream};
use crate::observe::Fault;
use crate::observe::metrics::{
    ClientTimeout, CloseReason, Http2Error, Http2Flood, Malformation, RequestVersion,
};
use crate::server::process_ms;
use crate::wire::body::Piece;
use crate::wire::h2::{Asked, Closed, ErrorCode, Flood, ServerSession, ServerStream};
use crate::wire::rules::ParseHeadError;
use crate::wire::{Downstream, Pipe};

/// When Lintel drains, requests that are on their way while the client learns of it are still served for this long.
const LAST_REQUESTS: Duration = Duration::from_secs(1);

/// Bytes of a request's body beyond which no more of it is dropped after the answer, and for how long it is.
const DROPPED: u64 = 1024 * 1024;
const DROP_TIME: Duration = Duration::from_secs(1);

/// A client that said goodbye has this long to close the connection itself.
const LEAVE_TIME: Duration = Duration::from_secs(1);

/// For the last frames to reach the client.
const GOODBYE_TIME: Duration = Duration::from_secs(2);

/// Where a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Nothing but silence or a part of the preface has come.
    Opening,
    Open,
    /// The client was asked to send no more, and may not know it yet.
    Announced,
    /// No more requests are taken.
    Leaving,
    /// GOAWAY is being written.
    Closing,
}

/// One connection.
struct Connection<'e> {
    engine: &'e Rc<Engine>,
    peer: Rc<Peer>,
    session: ServerSession,
    pass: Pass,
    stage: Stage,
    /// Of the stage, or of idleness.
    deadline: Deadline,
    /// A header block that has begun must end by then.
    head: Deadline,
    /// What is written must go on by then.
    write: Deadline,
    written: u64,
    idle: bool,
    /// The client has said goodbye.
    left: bool,
    /// Streams were opened.
    served: bool,
}

/// Serves a connection of HTTP/2 to its end.
pub async fn run(engine: &Rc<Engine>, peer: Peer, stream: Stream, pass: Pass) {
    let peer = Rc::new(peer);
    let session = ServerSession::new(stream, peer.listener.http2);
    let began = Instant::now();
    let mut connection = Connection {
        engine,
        peer: Rc::clone(&peer),
        session,
        pass,
        stage: Stage::Opening,
        deadline: Deadline::new(),
        head: Deadline::new(),
        write: Deadline::new(),
        written: 0,
        idle: true,
        left: false,
        served: false,
    };
    connection.deadline.after(peer.listener.timeouts.head);
    let mut drained = engine.drained();
    let mut cut = engine.cut(&peer.listener.life);
    let closed = poll_fn(|cx| {
        engine.tick();
        if matches!(connection.stage, Stage::Opening | Stage::Open) {
            if drained.poll_begun(cx).is_ready() {
                connection.announce();
            } else if cut.poll_over(cx).is_ready() {
                connection.leave("");
            }
        }
        connection.poll(cx)
    })
    .await;
    connection.account(closed, began);
    let _ = pingora_timeout::timeout(GOODBYE_TIME, poll_fn(|cx| connection.session.poll_linger(cx))).await;
}

impl Connection<'_> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Closed> {
        loop {
            match self.session.poll(cx) {
                Poll::Ready(Ok(asked)) => self.take(asked),
                Poll::Ready(Err(closed)) => return Poll::Ready(closed),
                Poll::Pending => {
                    if self.poll_time(cx).is_pending() {
                        return Poll::Pending;
                    }
                }
            }
        }
    }

    fn take(&mut self, asked: Asked) {
        let metrics = &self.peer.listener.metrics;
        match asked {
            Asked::Request { stream, head, refused } => {
                metrics.requests.add(RequestVersion::Http2, 1);
                self.served = true;
                if self.stage == Stage::Open && self.peer.listener.life.is(life::Stage::Retired) {
                    self.announce();
                }
                let (engine, peer) = (Rc::clone(self.engine), Rc::clone(&self.peer));
                let mut heads = engine.take_heads();
                let spare = std::mem::replace(&mut heads.request, head);
                self.session.keep(spare);
                tokio::task::spawn_local(exchange(engine, peer, stream, heads, refused));
            }
            Asked::StreamError { code, detail, malformed } => {
                metrics.http2_errors.add(Http2Error::of(code), 1);
                if malformed {
                    metrics.malformed.add(malformation(ParseHeadError::Malformed(detail)), 1);
                    let failure = Failure::new(Fault::BadRequest, detail);
                    record_without_request(self.engine, &self.peer, &failure, None, Duration::ZERO);
                }
            }
        }
    }

    /// Looks at the clocks; ready when something was done about one.
    fn poll_time(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let timeouts = self.peer.listener.timeouts;
        let (written, now) = (self.session.written(), self.engine.now());
        if self.session.is_flushed() {
            self.write.clear();
        } else if !self.write.is_set() || written != self.written {
            self.write.after(timeouts.write_idle);
        }
        self.written = written;
        match (self.session.is_inside_head(), self.head.is_set()) {
            (true, false) => self.head.after(timeouts.head),
            (false, true) => self.head.clear(),
            _ => {}
        }
        if self.session.is_closed() && self.stage != Stage::Closing {
            self.stage = Stage::Closing;
            self.deadline.after(GOODBYE_TIME);
        }
        self.note_idleness(timeouts.keep_alive);
        if self.write.poll_passed_by(cx, now).is_ready() {
            self.peer.listener.metrics.timeouts.add(ClientTimeout::WriteIdle, 1);
            self.session.lose("the client read nothing in time");
            return Poll::Ready(());
        }
        if self.head.poll_passed_by(cx, now).is_ready() {
            self.peer.listener.metrics.timeouts.add(ClientTimeout::Head, 1);
            self.close(ErrorCode::EnhanceYourCalm, "no whole head in time");
            return Poll::Ready(());
        }
        if self.idle && self.stage == Stage::Leaving {
            self.close(ErrorCode::NoError, "");
            return Poll::Ready(());
        }
        if self.stage == Stage::Announced && self.session.has_heard() {
            self.leave("");
            return Poll::Ready(());
        }
        if self.idle && self.pass.poll_evicted(cx).is_ready() && self.stage != Stage::Closing {
            self.peer.listener.metrics.closed.add(CloseReason::Evicted, 1);
            self.close(ErrorCode::NoError, "closed to make room for others");
            return Poll::Ready(());
        }
        std::task::ready!(self.deadline.poll_passed_by(cx, now));
        self.pass_deadline();
        Poll::Ready(())
    }

    /// Whether nothing is under way, and since when.
    fn note_idleness(&mut self, keep_alive: Duration) {
        if self.stage == Stage::Opening && self.session.is_open() {
            self.stage = Stage::Open;
            self.deadline.after(keep_alive);
        }
        let idle = !self.session.has_streams();
        if self.stage == Stage::Open {
            let left = self.session.is_left();
            match (idle, self.idle) {
                (true, false) => {
                    let time = if left { LEAVE_TIME } else { keep_alive };
                    self.deadline.set((self.engine.now() + time).into());
                }
                (true, true) if left && !self.left => self.deadline.after(LEAVE_TIME),
                (false, _) => self.deadline.clear(),
                _ => {}
            }
            self.left = left;
        }
        self.idle = idle;
        if idle {
            self.pass.silent(process_ms(self.engine.now()));
        } else {
            // Given away in this very moment: its requests are served all the same.
            let _ = self.pass.busy();
        }
    }

    fn pass_deadline(&mut self) {
        let metrics = &self.peer.listener.metrics;
        match self.stage {
            Stage::Opening => {
                metrics.timeouts.add(ClientTimeout::Preface, 1);
                self.close(ErrorCode::SettingsTimeout, "no preface in time");
            }
            Stage::Open => {
                if !self.left {
                    metrics.timeouts.add(ClientTimeout::KeepAlive, 1);
                }
                self.close(ErrorCode::NoError, "");
            }
            Stage::Announced => self.leave(""),
            Stage::Leaving => {}
            Stage::Closing => self.session.lose("the client read nothing in time"),
        }
    }

    /// Draining begins: no new requests, please.
    fn announce(&mut self) {
        if self.stage == Stage::Opening {
            return self.leave("");
        }
        self.stage = Stage::Announced;
        self.session.announce_end();
        self.deadline.after(LAST_REQUESTS);
    }

    fn leave(&mut self, detail: &'static str) {
        self.stage = Stage::Leaving;
        self.deadline.clear();
        self.session.take_no_more(ErrorCode::NoError, detail);
    }

    fn close(&mut self, code: ErrorCode, detail: &'static str) {
        self.stage = Stage::Closing;
        self.deadline.after(GOODBYE_TIME);
        self.session.close(code, detail);
    }

    /// The connection's own record and figures, at its end.
    fn account(&self, closed: Closed, began: Instant) {
        let metrics = &self.peer.listener.metrics;
        metrics.bytes_in.add(self.session.read);
        metrics.bytes_out.add(self.session.written());
        if let Some(flood) = closed.flood {
            metrics.http2_floods.add(Http2Flood::of(flood), 1);
            metrics.closed.add(CloseReason::Flood, 1);
        }
        if closed.code != ErrorCode::NoError {
            metrics.http2_errors.add(Http2Error::of(closed.code), 1);
        }
        if self.served {
            return;
        }
        if self.session.read == 0 {
            return metrics.silent.add(1);
        }
        let fault = match (closed.code, closed.flood) {
            (ErrorCode::NoError, _) => return,
            (ErrorCode::SettingsTimeout, _) | (ErrorCode::EnhanceYourCalm, None) => Fault::HeadTimeout,
            (_, Some(Flood::HeaderBlock | Flood::Continuation)) => Fault::HeadTooLarge,
            _ => Fault::BadRequest,
        };
        if closed.flood.is_none() && fault == Fault::BadRequest {
            metrics.malformed.add(Malformation::Head, 1);
            metrics.closed.add(CloseReason::Malformed, 1);
        }
        let failure = Failure::new(fault, closed.detail);
        record_without_request(self.engine, &self.peer, &failure, None, began.elapsed());
    }
}

/// One request from its head to its record.
async fn exchange(
    engine: Rc<Engine>,
    peer: Rc<Peer>,
    mut stream: Box<ServerStream>,
    mut heads: Box<Heads>,
    refused: Option<ParseHeadError>,
) {
    let start = Start { at: engine.tick(), read: 0, written: 0 };
    if let Some(error) = refused {
        Box::pin(refuse(&engine, &peer, &mut stream, error)).await;
        return engine.keep_heads(heads);
    }
    let mut cut = engine.cut(&peer.listener.life);
    let mut client = Downstream::Http2(&mut stream);
    let next = Box::pin(serve(&engine, &peer, &mut client, &mut heads, start, &mut cut)).await;
    engine.keep_heads(heads);
    if let (Next::Abort, Some(code)) = (&next, stream.reset_code()) {
        peer.listener.metrics.http2_errors.add(Http2Error::of(code), 1);
    }
    match next {
        Next::Tunnel(handover) => {
            handover.run(&engine, (Pipe::Http2(stream.into_stream()), Buffer::new())).await;
        }
        Next::KeepAlive | Next::Close if !stream.is_body_done() => Box::pin(drop_rest(&mut stream)).await,
        Next::KeepAlive | Next::Close => {}
        Next::Abort => {}
    }
}

/// Lets a client end a request that was answered early, before it is told that nobody listens (RFC 9113 section 8.1).
async fn drop_rest(stream: &mut ServerStream) {
    let rest = poll_fn(|cx| {
        loop {
            match std::task::ready!(stream.poll_body(cx)) {
                Ok(Piece::Bytes) if stream.body_read() < DROPPED => {
                    let count = stream.piece().len();
                    stream.take(count);
                }
                _ => return Poll::Ready(()),
            }
        }
    });
    let _ = pingora_timeout::timeout(DROP_TIME, rest).await;
}

/// Answers a head that is no malformed one, but more than this listener takes.
async fn refuse(engine: &Engine, peer: &Peer, stream: &mut ServerStream, error: ParseHeadError) {
    peer.listener.metrics.malformed.add(malformation(error), 1);
    let failure = Failure::new(head_fault(error), error);
    let reply = fault::reply(failure.fault, "");
    record_without_request(engine, peer, &failure, Some(reply.head.status), Duration::ZERO);
    let mut client = Downstream::Http2(stream);
    if respond::send_reply(&mut client, &reply, &goodbye(peer, &engine.date())).await.is_err() {
        client.abort(ErrorCode::Cancel);
    }
}
