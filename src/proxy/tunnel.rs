//! An upgraded connection, or an upgraded stream of HTTP/2: bytes both ways, frame boundaries followed, a gentle end.
//!
//! ```text
//! Open --draining: after its own delay, unless that is taken back--> Leaving --at a frame boundary--> Closing: Close 1001 to the client
//! Closing --the client's end, or 5 s--> over        Open --both ended, one failed, silent too long--> over
//! Open --one side of a WebSocket ended--> Ending --the other's end, or 5 s--> over
//! ```

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::AsyncWrite;

use super::engine::Engine;
use super::fault::Failure;
use crate::life::{self, Life};
use crate::net::buffer::BLOCK;
use crate::net::{Buffer, Deadline};
use crate::observe::Fault;
use crate::pool::Lease;
use crate::server::Goodbyes;
use crate::wire::Pipe;
use crate::wire::websocket::{Follower, GOING_AWAY, SERVICE_RESTART, close_frame};

/// How long a client may take to answer our Close, and one side of a WebSocket to end after the other.
const CLOSING_TIME: Duration = Duration::from_secs(5);
/// Goodbyes per second when many tunnels end at once, so that their clients do not all come back in one moment.
const GOODBYES_PER_SECOND: u64 = 400;
/// The last goodbye is said no later than this.
const LAST_GOODBYE: Duration = Duration::from_secs(10);

/// Two streams joined.
pub struct Tunnel {
    client: Side,
    server: Side,
    idle: Duration,
    is_websocket: bool,
    stage: Stage,
    leaving: Leaving,
    /// Close code for the client.
    goodbye: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Open,
    Leaving,
    Closing,
    Ending,
}

/// Whether it says goodbye when its deadline passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leaving {
    No,
    /// Its server is drained: the time may be changed, or all of it taken back.
    Drained,
    /// There is nothing to stay for.
    Soon,
}

/// One end: what was read from it and not yet written to the other.
struct Side {
    stream: Pipe,
    inbound: Buffer,
    follower: Follower,
    ended: bool,
    /// The other side was told of the end.
    passed_on: bool,
    moved: u64,
}

/// How far bytes are moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Until {
    End,
    /// The next place between two frames.
    Boundary,
}

/// What went through.
#[derive(Clone, Copy, Debug, Default)]
pub struct Moved {
    pub from_client: u64,
    pub from_server: u64,
}

impl Side {
    fn new((stream, inbound): (Pipe, Buffer)) -> Self {
        let follower = Follower::default();
        Self { stream, inbound, follower, ended: false, passed_on: false, moved: 0 }
    }

    fn is_over(&self) -> bool {
        self.ended && self.passed_on
    }

    /// Reads once. Most often nothing is there, and then no buffer is taken.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        ready!(self.stream.poll_readable(cx))?;
        self.inbound.poll_fill(cx, &mut self.stream, BLOCK)
    }
}

impl Tunnel {
    /// Joins two connections; the 101 is with the client already.
    pub fn new(client: (Pipe, Buffer), server: (Pipe, Buffer), idle: Duration, protocol: &[u8]) -> Self {
        let (client, server) = (Side::new(client), Side::new(server));
        let is_websocket = protocol.eq_ignore_ascii_case(b"websocket");
        Self {
            client,
            server,
            idle,
            is_websocket,
            stage: Stage::Open,
            leaving: Leaving::No,
            goodbye: GOING_AWAY,
        }
    }

    /// Pumps until both sides are done. `ways` are the lives of the listener and the route that it came by.
    pub async fn run(
        &mut self,
        engine: &Engine,
        lease: &Lease,
        ways: [&Life; 2],
    ) -> (Moved, Result<(), Failure>) {
        engine.process.tunnels.fetch_add(1, Ordering::Relaxed);
        let [listener, route] = ways;
        let mut drained = engine.drained();
        let mut cut = engine.cut(listener);
        let mut called = pin!(lease.state.called(lease.heard));
        let (mut heard, mut listens) = (lease.heard, false);
        let mut deadline = Deadline::new();
        deadline.after(self.idle);
        let mut noted = 0;
        let outcome = poll_fn(|cx| {
            let now = engine.tick();
            let is_over = route.is(life::Stage::Over) || lease.state.life.is(life::Stage::Over);
            if cut.poll_over(cx).is_ready() || is_over {
                return Poll::Ready(Err(Failure::new(Fault::DrainTimeout, "drain_timeout passed")));
            }
            // Nothing polite can be said in a protocol that is not known here: such a tunnel goes on until it is cut.
            if self.is_websocket && self.stage == Stage::Open && self.leaving != Leaving::Soon {
                let is_way_closing = ways.iter().any(|way| way.is(life::Stage::Leaving));
                if drained.poll_begun(cx).is_ready() || is_way_closing {
                    (self.leaving, self.goodbye) = (Leaving::Soon, GOING_AWAY);
                    deadline.after(goodbye_delay(engine));
                } else {
                    while !listens || lease.state.has_called_since(heard) {
                        let call = called.as_mut().poll(cx);
                        listens = call.is_pending();
                        let Poll::Ready(call) = call else { break };
                        heard = call;
                        called.set(lease.state.called(heard));
                        self.follow(engine, lease.state.goodbyes(), &mut deadline);
                    }
                }
            }
            loop {
                if let Poll::Ready(outcome) = self.poll_both(cx) {
                    return Poll::Ready(outcome);
                }
                let moved = self.client.moved + self.server.moved;
                if self.stage == Stage::Open && self.leaving == Leaving::No {
                    if self.is_half_over() {
                        self.stage = Stage::Ending;
                        deadline.after(CLOSING_TIME);
                    } else if moved != noted {
                        noted = moved;
                        deadline.set((now + self.idle).into());
                    }
                }
                ready!(deadline.poll_passed_by(cx, now));
                match self.stage {
                    Stage::Open if self.leaving != Leaving::No => {
                        self.stage = Stage::Leaving;
                        deadline.after(CLOSING_TIME);
                    }
                    Stage::Open => {
                        let failure = Failure::new(Fault::TunnelIdle, "no byte in either direction");
                        return Poll::Ready(Err(failure));
                    }
                    Stage::Leaving | Stage::Closing | Stage::Ending => return Poll::Ready(Ok(())),
                }
            }
        })
        .await;
        engine.process.tunnels.fetch_sub(1, Ordering::Relaxed);
        (Moved { from_client: self.client.moved, from_server: self.server.moved }, outcome)
    }

    /// Its server is drained, in more or less time than was said before, or is not drained any more.
    fn follow(&mut self, engine: &Engine, goodbyes: Option<Goodbyes>, deadline: &mut Deadline) {
        match goodbyes {
            Some(goodbyes) => {
                (self.leaving, self.goodbye) = (Leaving::Drained, SERVICE_RESTART);
                deadline.after(delay_within(engine, goodbyes));
            }
            None if self.leaving == Leaving::Drained => {
                self.leaving = Leaving::No;
                deadline.after(self.idle);
            }
            None => {}
        }
    }

    fn poll_both(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        let up = poll_pump(cx, &mut self.client, &mut self.server, Until::End);
        if let Poll::Ready(Err(error)) = up {
            return Poll::Ready(Err(Failure::new(Fault::ClientGone, error)));
        }
        if let Err(error) = self.poll_down(cx) {
            return Poll::Ready(Err(Failure::new(Fault::ServerReset, error)));
        }
        let over = match self.stage {
            Stage::Closing => self.client.ended || self.server.ended,
            _ => (self.client.is_over() && self.server.is_over()) || self.has_said_goodbye(),
        };
        if over { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    /// One side of a WebSocket has ended; unlike TCP it has no half-closed state (RFC 6455 section 7.1.1).
    fn is_half_over(&self) -> bool {
        self.is_websocket && (self.client.is_over() || self.server.is_over())
    }

    /// Close frames went both ways, and one side has ended: nothing more can come.
    fn has_said_goodbye(&self) -> bool {
        self.is_half_over() && self.client.follower.closing && self.server.follower.closing
    }

    /// From the server to the client, up to the boundary where the goodbye is put in.
    fn poll_down(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.stage == Stage::Leaving {
            let _ = poll_pump(cx, &mut self.server, &mut self.client, Until::Boundary)?;
            if self.server.follower.is_at_boundary() {
                // Four bytes on an open connection: they fit, or the client has not read for long.
                let _ = Pin::new(&mut self.client.stream).poll_write(cx, &close_frame(self.goodbye))?;
                let _ = Pin::new(&mut self.client.stream).poll_flush(cx)?;
                self.stage = Stage::Closing;
            }
        }
        if self.stage == Stage::Closing {
            return self.drop_from_server(cx);
        }
        let _ = poll_pump(cx, &mut self.server, &mut self.client, Until::End)?;
        Ok(())
    }

    /// Nothing may follow a Close frame; the server is read on so that it can end.
    fn drop_from_server(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let server = &mut self.server;
        while !server.ended {
            server.inbound.consume(server.inbound.len());
            match server.inbound.poll_fill(cx, &mut server.stream, BLOCK) {
                Poll::Ready(count) => server.ended = count? == 0,
                Poll::Pending => break,
            }
        }
        Ok(())
    }
}

/// Moves bytes one way until one side has no more to give or to take; ready when the end was passed on.
fn poll_pump(cx: &mut Context<'_>, from: &mut Side, to: &mut Side, until: Until) -> Poll<io::Result<()>> {
    loop {
        let bytes = from.inbound.bytes();
        if !bytes.is_empty() {
            let most = match until {
                Until::End => bytes.len(),
                Until::Boundary => from.follower.until_boundary(bytes).unwrap_or(bytes.len()),
            };
            if most == 0 {
                return Poll::Pending;
            }
            let count = ready!(Pin::new(&mut to.stream).poll_write(cx, &bytes[..most]))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            from.follower.follow(&bytes[..count]);
            from.inbound.consume(count);
            from.moved += count as u64;
            continue;
        }
        if from.ended {
            if !from.passed_on {
                ready!(Pin::new(&mut to.stream).poll_flush(cx))?;
                // The other side may be gone already, which ends this direction just as well.
                let _ = ready!(Pin::new(&mut to.stream).poll_shutdown(cx));
                from.passed_on = true;
            }
            return Poll::Ready(Ok(()));
        }
        if until == Until::Boundary && from.follower.is_at_boundary() {
            return Poll::Pending;
        }
        match from.poll_fill(cx) {
            Poll::Ready(count) => from.ended = count? == 0,
            Poll::Pending => {
                let _ = Pin::new(&mut to.stream).poll_flush(cx)?;
                return Poll::Pending;
            }
        }
    }
}

fn delay_within(engine: &Engine, goodbyes: Goodbyes) -> Duration {
    match goodbyes {
        Goodbyes::Over(time) => {
            let spread = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
            Duration::from_millis(engine.random() % spread.max(1))
        }
        Goodbyes::Soon => goodbye_delay(engine),
    }
}

/// Spreads the goodbyes of all open tunnels over time.
fn goodbye_delay(engine: &Engine) -> Duration {
    if let Some(spread) = engine.process.goodbyes_over() {
        return Duration::from_millis(engine.random() % spread);
    }
    let open = u64::from(engine.process.tunnels.load(Ordering::Relaxed));
    let spread = (open * 1000 / GOODBYES_PER_SECOND).max(1);
    Duration::from_millis(engine.random() % spread).min(LAST_GOODBYE)
}
