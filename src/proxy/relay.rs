//! A request that goes to a server: pick, send, retry within the budget, and bring the answer back.

use std::future::poll_fn;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use smallvec::SmallVec;

use super::Next;
use super::allowance::Allowance;
use super::answer;
use super::attempt::{self, Answered, Ask, Failed, Kind};
use super::call::{self, Call};
use super::engine::{Engine, Heads};
use super::exchange::Exchange;
use super::fault::Failure;
use super::forward::{self, Facts};
use super::outcome::{count_retry, observe_body, observe_failure, observe_head, status_reason};
use super::respond::{self, Download, Pace};
use super::switch::switch;
use super::upload::Upload;
use crate::health::Outcome;
use crate::life::Stage;
use crate::observe::Fault;
use crate::pool::spec::{BalanceSpec, Policy};
use crate::pool::sticky::socket_io::{LONGEST_HANDSHAKE, Learned, learn_from_body};
use crate::pool::{self, Lease, Refusal, Span, key};
use crate::snapshot::{PoolPlan, Target};
use crate::upstream::idle;
use crate::wire::body::Framing;
use crate::wire::head::{Head, Known};
use crate::wire::token::list;
use crate::wire::{Downstream, Upstream};

/// What one request asks of its pool, over all attempts.
pub struct Request<'s> {
    pub target: &'s Target,
    pub upgrade: Option<Vec<u8>>,
    hash: Option<u64>,
    /// Id of the server that the client's session lives on.
    bound: Option<u64>,
    /// The answer opens a Socket.IO session.
    learns: bool,
    tried: SmallVec<[u64; 4]>,
    idempotent: bool,
    body: Framing,
    /// Stale idle connections were met: only new ones from here on.
    fresh: bool,
    written_before: u64,
}

/// Takes the request to a server and the answer to the client.
pub async fn relay(
    engine: &Engine,
    exchange: &mut Exchange<'_>,
    client: &mut Downstream<'_>,
    heads: &mut Heads,
) -> Result<Next, Failure> {
    let Some(target) = exchange.target else { return Err(Fault::Bug.into()) };
    // Given up with its head, as whoever floods with resets does: no server is troubled (CVE-2023-44487).
    if client.is_given_up() {
        return Err(Failure::new(
            Fault::ClientGone,
            "the client gave the request up before a server was asked",
        ));
    }
    let plan = &*target.plan;
    let mut request = Request::new(engine, exchange, target, client, &heads.request).await;
    if client.is_http2() && client.request().upgrade && request.upgrade.is_none() {
        // As a plain request it would mean something else to the server, and to the client.
        return Err(Failure::new(Fault::ProtocolRefused, "the route does not pass this protocol on"));
    }
    prepare(engine, exchange, client, heads, &mut request);
    let mut upload = new_upload(exchange, plan, &request);
    plan.pool.count_request(engine.now());
    let mut last: Option<Failure> = None;
    loop {
        let lease = match acquire(engine, exchange, client, &request).await {
            Ok(lease) => lease,
            // That no other server is left is no news; why this one failed is.
            Err(refused) => return Err(last.unwrap_or(refused)),
        };
        exchange.attempts += 1;
        exchange.server = Some(Arc::clone(lease.server()));
        let ask = Ask {
            engine,
            plan,
            lease: &lease,
            body: request.body,
            upgrade: request.upgrade.as_deref(),
            fresh: request.fresh,
        };
        lease.server().metrics.requests.add(1);
        match attempt::run(&ask, client, &mut upload, heads).await {
            Ok(answered) => {
                let status = heads.response.status;
                let outcome = Outcome::Answered { status, latency: answered.latency };
                observe_head(&lease, outcome, answered.latency, engine.now());
                request.tried.push(lease.server().id);
                if !request.repeats_status(status, exchange.attempts, &upload, client, plan) {
                    return finish(engine, exchange, client, heads, &request, lease, answered, &mut upload)
                        .await;
                }
                count_retry(target, status_reason(status));
            }
            Err(failed) => {
                observe_failure(&lease, &failed, engine.now());
                if failed.kind == Kind::Connect {
                    plan.poke.now();
                }
                request.note_failed(&failed, lease.server().id);
                if !request.repeats(&failed, exchange.attempts, &upload, client, plan) {
                    return Err(failed.failure);
                }
                count_retry(target, failed.kind.retry_reason());
                last = Some(failed.failure);
            }
        }
        upload.restart();
    }
}

impl<'s> Request<'s> {
    async fn new(
        engine: &Engine,
        exchange: &Exchange<'_>,
        target: &'s Target,
        client: &Downstream<'_>,
        head: &Head,
    ) -> Self {
        let pool = &target.plan.pool;
        if pool.expects_sessions() {
            Box::pin(pool.meet_session(head)).await;
        }
        let allowed = exchange.route.map(|route| route.upgrades.as_slice()).unwrap_or_default();
        let framing = client.request();
        Self {
            target,
            upgrade: (framing.upgrade && framing.body == Framing::Empty)
                .then(|| allowed_upgrade(head, allowed))
                .flatten(),
            hash: hash(&pool.spec.balance, exchange.client, head),
            bound: pool.bound_server(head, engine.now()),
            learns: pool.learns_from(head),
            tried: SmallVec::new(),
            idempotent: head.method().is_idempotent(),
            body: framing.body,
            fresh: false,
            written_before: client.bytes().1,
        }
    }

    /// Whether a failed try may be followed by another.
    fn repeats(
        &self,
        failed: &Failed,
        attempts: u32,
        upload: &Upload,
        client: &Downstream<'_>,
        plan: &PoolPlan,
    ) -> bool {
        if attempts > plan.pool.spec.retries.attempts {
            return false;
        }
        match failed.kind {
            Kind::Connect | Kind::Scarce => plan.retry_connect,
            Kind::Reset | Kind::Broken => {
                plan.retry_reset
                    && self.is_repeatable(upload, client)
                    && plan.pool.try_spend_retry(Instant::now())
            }
            Kind::TimedOut => {
                plan.retry_timeout
                    && self.is_repeatable(upload, client)
                    && plan.pool.has_other(&self.tried)
                    && plan.pool.try_spend_retry(Instant::now())
            }
            // No server is overloaded that is not there, so the budget is not asked; but a request that ends processes is not
            // to end all of them.
            Kind::Ended => {
                plan.retry_reset
                    && self.is_repeatable(upload, client)
                    && (attempts == 1 || plan.pool.try_spend_retry(Instant::now()))
            }
            Kind::Unprocessed => {
                plan.retry_reset && upload.is_replayable() && client.bytes().1 == self.written_before
            }
            Kind::Final | Kind::Client => false,
        }
    }

    /// Whether an answer with this status is thrown away for another try.
    fn repeats_status(
        &self,
        status: u16,
        attempts: u32,
        upload: &Upload,
        client: &Downstream<'_>,
        plan: &PoolPlan,
    ) -> bool {
        plan.retry_statuses.contains(&status)
            && attempts <= plan.pool.spec.retries.attempts
            && self.is_repeatable(upload, client)
            && plan.pool.has_other(&self.tried)
            && plan.pool.try_spend_retry(Instant::now())
    }

    /// Doing it twice is as good as once, all of it can be sent again, and the client has seen nothing of an answer.
    fn is_repeatable(&self, upload: &Upload, client: &Downstream) -> bool {
        self.idempotent
            && upload.is_replayable()
            && client.bytes().1 == self.written_before
            && client.is_flushed()
    }

    /// A kept connection that was closed meanwhile says nothing about its server, nor does a request that it did nothing
    /// about: the same may be asked again.
    fn note_failed(&mut self, failed: &Failed, server: u64) {
        let is_stale = failed.reused && !matches!(failed.kind, Kind::Broken | Kind::TimedOut);
        if (is_stale || failed.kind == Kind::Unprocessed) && !self.fresh {
            self.fresh = true;
        } else {
            self.tried.push(server);
        }
    }
}

/// What `consistent_hash` goes by; other algorithms need none.
fn hash(balance: &BalanceSpec, client: Option<IpAddr>, head: &Head) -> Option<u64> {
    // All clients of a unix socket count as one.
    let client = client.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    (balance.policy == Policy::ConsistentHash).then(|| key::hash(&balance.key, client, head))
}

/// The protocol that is asked for, if it is passed on: `websocket`, or one that the route names.
fn allowed_upgrade(head: &Head, allowed: &[String]) -> Option<Vec<u8>> {
    let asked = |protocol: &&[u8]| {
        let is = |name: &str| protocol.eq_ignore_ascii_case(name.as_bytes());
        // A server that went on in HTTP/2 could be sent requests past every rule here.
        is("websocket") || !is("h2c") && allowed.iter().any(|name| is(name))
    };
    head.all(Known::Upgrade).flat_map(list).find(asked).map(<[u8]>::to_vec)
}

/// A stream of messages may be silent for as long as a tunnel: a client that only says it sends one, to servers that
/// cannot speak gRPC, may not.
fn is_stream_of_messages(exchange: &Exchange<'_>, plan: &PoolPlan) -> bool {
    exchange.call.is_some() && plan.http2.is_some()
}

fn new_upload(exchange: &Exchange<'_>, plan: &PoolPlan, request: &Request<'_>) -> Upload {
    if request.upgrade.is_some() {
        return Upload::empty(plan.body_idle);
    }
    let upload = if is_stream_of_messages(exchange, plan) {
        Upload::new(Allowance::new(plan.tunnel_idle, None), plan.tunnel_idle)
    } else {
        let timeouts = &exchange.peer.listener.timeouts;
        Upload::new(Allowance::new(timeouts.body_idle, timeouts.body_rate), plan.body_idle)
    };
    let upload = upload.decoded(exchange.call.as_ref().and_then(Call::upload));
    // HTTP/2 servers can say that they did nothing, so that any request may be sent again.
    let may_repeat = request.idempotent || plan.http2.is_some();
    if may_repeat && plan.pool.spec.retries.attempts > 0 { upload.kept() } else { upload }
}

/// Makes the head that every server gets.
fn prepare(
    engine: &Engine,
    exchange: &Exchange<'_>,
    client: &Downstream<'_>,
    heads: &mut Heads,
    request: &mut Request<'_>,
) {
    let peer = exchange.peer;
    let certificate = peer.session.as_ref().and_then(|session| session.client.as_ref());
    let facts = Facts {
        peer: peer.ip(),
        trusted: peer.trusted.is_some(),
        scheme: exchange.scheme,
        host: heads.request.get(Known::Host).unwrap_or_default(),
        port: peer.port,
        request_id: &exchange.request_id,
        pseudonym: &engine.process.pseudonym,
        certificate: certificate
            .map(|client| (client.subject.as_str(), client.fingerprint_sha256_hex.as_str())),
        keep_expect: client.request().expect_continue,
        chunked: request.body == Framing::Chunked,
        http2: request.target.plan.http2.is_some(),
        told: request.target.plan.told,
    };
    forward::prepare_request(&heads.request, &mut heads.outgoing, &facts);
    if request.learns {
        // The session id is read from the body, so that must come as it is.
        heads.outgoing.remove_known(Known::AcceptEncoding);
    }
    if let Some(call) = &exchange.call {
        request.body = call.prepare_request(&mut heads.outgoing, request.body);
    }
    let Some(route) = exchange.route else { return };
    if let std::borrow::Cow::Owned(target) = route.rewrite.target(heads.request.target()) {
        heads.outgoing.set_target(&target);
    }
    forward::escape_target(&mut heads.outgoing);
    if let Some(host) = route.rewrite.host() {
        heads.outgoing.set_known(Known::Host, host.as_bytes());
    }
    route.filters.edit_request(&mut heads.outgoing);
}

/// A server of the pool, after a wait in the queue if need be. A client that leaves meanwhile gives up its place.
async fn acquire(
    engine: &Engine,
    exchange: &mut Exchange<'_>,
    client: &mut Downstream<'_>,
    request: &Request<'_>,
) -> Result<Lease, Failure> {
    let pool = &request.target.plan.pool;
    let ask = pool::Ask {
        now: engine.now(),
        hash: request.hash,
        bound: request.bound,
        span: if request.learns || request.upgrade.is_some() { Span::Session } else { Span::Exchange },
        tried: &request.tried,
        random: engine.random(),
        // Time in the queue is counted once for all attempts, and that of a pause not at all.
        queue_left: exchange.queue.map(|waited| {
            let counts = waited.saturating_sub(exchange.paused);
            pool.spec.queue.timeout.std().saturating_sub(counts)
        }),
    };
    let acquiring = pin!(pool.acquire(&ask));
    let gone = pin!(poll_fn(|cx| client.poll_gone(cx)));
    let outcome = tokio::select! {
        biased;
        outcome = acquiring => outcome,
        _ = gone => return Err(Failure::new(Fault::ClientGone, "the client left while its request waited")),
    };
    match outcome {
        Ok(lease) => {
            if !lease.waited.is_zero() {
                exchange.queue = Some(exchange.queue.unwrap_or_default() + lease.waited);
                exchange.paused += lease.paused;
            }
            Ok(lease)
        }
        Err(refusal) => {
            let fault = match refusal {
                Refusal::NoServerUp => Fault::NoServerUp,
                Refusal::QueueFull => Fault::QueueFull,
                Refusal::QueueTimeout => Fault::QueueTimeout,
            };
            Err(Failure::new(fault, refusal))
        }
    }
}

/// Brings the answer to the client, or joins both for a tunnel.
async fn finish(
    engine: &Engine,
    exchange: &mut Exchange<'_>,
    client: &mut Downstream<'_>,
    heads: &mut Heads,
    request: &Request<'_>,
    lease: Lease,
    answered: Answered,
    upload: &mut Upload,
) -> Result<Next, Failure> {
    exchange.first_byte = Some(engine.now().saturating_duration_since(exchange.start.at));
    (exchange.connect, exchange.reused) = (answered.connect, answered.reused);
    if answered.switched {
        return Box::pin(switch(engine, exchange, client, heads, request, lease, answered.server)).await;
    }
    if client.is_http2() && client.request().upgrade && (200..300).contains(&heads.response.status) {
        // To an extended CONNECT this answer would mean that the tunnel is open.
        return Err(Failure::new(Fault::UpgradeRefused, "the server answered the upgrade without switching"));
    }
    let mut server = answered.server;
    let plan = &request.target.plan;
    let mut download = Download::new(upload, pace(exchange, plan, &heads.response));
    if request.learns && heads.response.status == 200 {
        // The session is known before the client can use it.
        let learn = |held: &[u8]| match learn_from_body(held) {
            Learned::Learn { sid, ttl } => {
                plan.pool.learn(&sid, ttl, lease.server(), engine.now());
                true
            }
            Learned::NotHandshake => true,
            Learned::NeedMore => false,
        };
        let held = download.hold(&mut server, LONGEST_HANDSHAKE, learn).await;
        held.inspect_err(|failure| {
            observe_body(&lease, heads.response.status, answered.latency, Some(failure), engine.now())
        })?;
    }
    exchange.status = heads.response.status;
    download.web = answer::write_head(engine, exchange, client, heads, request, &lease, &server);
    exchange.answered = true;
    let outcome = until_over(exchange, &lease, &mut download, client, &mut server).await;
    if exchange.call.is_some() {
        exchange.grpc_status = Some(call::final_status(&heads.response, server.trailers()));
    }
    observe_body(&lease, exchange.status, answered.latency, outcome.as_ref().err(), engine.now());
    outcome?;
    // Behind an upgrade that it declined, a server may read otherwise: Node 20 answers nothing there to what is no request.
    if download.upload.is_complete() && request.upgrade.is_none() {
        put_back(engine, plan, &lease, server);
    }
    // A client that reads slowly is no work for the server.
    drop(lease);
    respond::flush(client, exchange.peer.listener.timeouts.write_idle).await?;
    let stays = client.keeps_alive() && client.is_body_done();
    Ok(if stays { Next::KeepAlive } else { Next::Close })
}

/// Moves the body to its end, or to that of its route or server, if a reload took one of them away.
async fn until_over(
    exchange: &mut Exchange<'_>,
    lease: &Lease,
    download: &mut Download<'_>,
    client: &mut Downstream<'_>,
    server: &mut Upstream,
) -> Result<(), Failure> {
    let route = exchange.route;
    let is_over =
        || lease.state.life.is(Stage::Over) || route.is_some_and(|route| route.life.is(Stage::Over));
    // Whoever waits for the cut of the whole exchange is woken when a life moves on.
    poll_fn(|cx| {
        let polled = download.poll(cx, client, server);
        // Each time: an exchange that is cut from outside does not come back here.
        exchange.body_out = download.bytes;
        match polled {
            Poll::Pending if is_over() => {
                Poll::Ready(Err(Failure::new(Fault::DrainTimeout, "its server or route was taken away")))
            }
            polled => polled,
        }
    })
    .await
}

/// Keeps a connection that can serve again; a stream just ends.
fn put_back(engine: &Engine, plan: &PoolPlan, lease: &Lease, server: Upstream) {
    let Upstream::Http1(server) = server else { return };
    let life = idle::life(server.response.keep_alive_timeout, plan.server_keep_alive);
    if server.is_clean() && !life.is_zero() && !engine.process.is_draining() {
        engine.idle.put(lease.server(), server, engine.now() + life, plan.pool.spec.idle_connections);
    }
}

/// Event streams and streams of messages may be silent for as long as tunnels.
fn pace(exchange: &Exchange<'_>, plan: &PoolPlan, response: &Head) -> Pace {
    let content_type = response.get(Known::ContentType).unwrap_or_default();
    let is_events =
        content_type.get(..17).is_some_and(|kind| kind.eq_ignore_ascii_case(b"text/event-stream"));
    let timeouts = &exchange.peer.listener.timeouts;
    Pace {
        server_idle: if is_events || is_stream_of_messages(exchange, plan) {
            plan.tunnel_idle
        } else {
            plan.body_idle
        },
        client: Allowance::new(timeouts.write_idle, timeouts.body_rate),
    }
}
