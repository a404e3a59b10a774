//! The exchange: what happens to one request, whatever protocol it came by.
//!
//! `serve` reads from top to bottom as the phases of a request. Failures are values on their way to the one
//! table in `fault`; the record at the end is written once, whatever happened.

pub mod allowance;
pub mod answer;
pub mod attempt;
pub mod begin;
pub mod bell;
pub mod call;
pub mod connection;
pub mod engine;
pub mod exchange;
pub mod fault;
pub mod forward;
pub mod outcome;
pub mod relay;
pub mod requests;
pub mod respond;
pub mod streams;
pub mod switch;
pub mod tunnel;
pub mod upload;

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use crate::filter::Verdict;
use crate::net::Deadline;
use crate::observe::Fault;
use crate::observe::metrics::{ClientTimeout, CloseReason, Malformation};
use crate::reply::Reply;
use crate::snapshot::Action;
use crate::wire::Downstream;
use crate::wire::head::Head;

use bell::Cut;
use call::Call;
use engine::{Engine, Heads};
use exchange::{Exchange, Peer, Start};
use fault::Failure;
use respond::Manner;
use switch::Handover;

/// What becomes of the client's connection after an exchange.
pub enum Next {
    /// The next request may come.
    KeepAlive,
    /// It is ended in order, so that the client can read everything.
    Close,
    /// It is cut: the client must see that its response is not whole.
    Abort,
    /// It goes on as a tunnel.
    Tunnel(Box<Handover>),
}

/// Serves the request whose head is in `heads.request`.
///
/// `cut` is over when draining is, and what still runs must end. The caller has let the engine's clock tick.
pub async fn serve(
    engine: &Engine,
    peer: &Peer,
    client: &mut Downstream<'_>,
    heads: &mut Heads,
    start: Start,
    cut: &mut Cut<'_>,
) -> Next {
    let snapshot = engine.snapshot();
    let mut exchange = Exchange::new(&snapshot, peer, start);
    exchange.call = Call::native(&heads.request);
    let time = call::time(&heads.request);
    let outcome = {
        let phases = pin!(run(engine, &mut exchange, client, heads));
        guarded(engine, phases, cut, time).await
    };
    let next = match outcome {
        Ok(next) => next,
        Err(failure) => answer_failure(engine, &mut exchange, client, &heads.request, failure).await,
    };
    exchange.body_in = client.body_read();
    if !matches!(next, Next::Tunnel(_)) {
        let (read, written) = client.bytes();
        exchange.record(&heads.request, read, written);
    }
    next
}

/// Runs the phases so that the exchange ends in its record also when it is cut off, or when an invariant breaks.
async fn guarded(
    engine: &Engine,
    mut phases: Pin<&mut impl Future<Output = Result<Next, Failure>>>,
    cut: &mut Cut<'_>,
    time: Option<Duration>,
) -> Result<Next, Failure> {
    let mut deadline = Deadline::new();
    let mut begun = false;
    if let Some(time) = time {
        deadline.after(time);
    }
    poll_fn(|cx| {
        if std::mem::replace(&mut begun, true) {
            engine.tick();
        }
        let polled = catch_unwind(AssertUnwindSafe(|| phases.as_mut().poll(cx)));
        match polled {
            Ok(Poll::Pending) if cut.poll_over(cx).is_ready() => {
                Poll::Ready(Err(Failure::new(Fault::DrainTimeout, "drain_timeout passed")))
            }
            Ok(Poll::Pending) if deadline.poll_passed(cx).is_ready() => {
                let failure = Failure::new(Fault::DeadlineExceeded, "the call's grpc-timeout passed");
                Poll::Ready(Err(failure))
            }
            Ok(outcome) => outcome,
            // The panic hook has logged where.
            Err(_) => Poll::Ready(Err(Failure::new(Fault::Bug, "an invariant broke; see the program log"))),
        }
    })
    .await
}

/// The phases.
async fn run<'s>(
    engine: &Engine,
    exchange: &mut Exchange<'s>,
    client: &mut Downstream<'_>,
    heads: &mut Heads,
) -> Result<Next, Failure> {
    let asked = begin::begin(engine, exchange, client, &heads.request)?;
    begin::check_connection(exchange, &asked)?;
    if let Some(reply) = begin::listener_redirect(exchange, &asked, &heads.request) {
        return send(engine, exchange, client, &reply).await;
    }
    let route = begin::route(exchange, &asked, &heads.request)?;
    exchange.call = exchange.call.take().or_else(|| Call::web(&heads.request, route.filters.grpc_web()));
    begin::limit_body(exchange, client)?;
    if let Verdict::Answer(reply) = route.filters.guard(&heads.request) {
        return send(engine, exchange, client, &reply).await;
    }
    match &route.action {
        Action::Respond(reply) => send_edited(engine, exchange, client, reply.clone()).await,
        Action::Redirect(redirect) => {
            let reply = redirect.reply(heads.request.target());
            send_edited(engine, exchange, client, reply).await
        }
        Action::Forward { split, targets } => {
            exchange.target = targets.get(split.pick(engine.random()));
            relay::relay(engine, exchange, client, heads).await
        }
    }
}

async fn send_edited(
    engine: &Engine,
    exchange: &mut Exchange<'_>,
    client: &mut Downstream<'_>,
    mut reply: Reply,
) -> Result<Next, Failure> {
    if let Some(route) = exchange.route {
        route.filters.edit_response(&mut reply.head);
    }
    send(engine, exchange, client, &reply).await
}

/// Sends a reply of Lintel's own.
async fn send(
    engine: &Engine,
    exchange: &mut Exchange<'_>,
    client: &mut Downstream<'_>,
    reply: &Reply,
) -> Result<Next, Failure> {
    let rest_taken = !client.request().expect_continue && respond::take_rest(client).await;
    let done = client.is_body_done() || rest_taken;
    let keep_alive = client.request().keep_alive && done && engine.keeps_alive(&exchange.peer.listener);
    (exchange.answered, exchange.status) = (true, reply.head.status);
    let manner = Manner {
        date: &engine.date(),
        request_id: &exchange.request_id,
        keep_alive,
        write_idle: exchange.peer.listener.timeouts.write_idle,
    };
    exchange.body_out = respond::send_reply(client, reply, &manner).await?;
    Ok(if keep_alive { Next::KeepAlive } else { Next::Close })
}

/// Faults of clients are counted by listener too, where floods are looked for.
fn count_client_fault(exchange: &Exchange<'_>, fault: Fault) {
    let metrics = &exchange.peer.listener.metrics;
    match fault {
        // A bad head has been counted where it was seen; what is bad after the route was found is the body.
        Fault::BadRequest if exchange.route.is_some() => metrics.malformed.add(Malformation::Body, 1),
        Fault::BodyTooLarge => metrics.malformed.add(Malformation::BodyTooLarge, 1),
        Fault::BodyTimeout => metrics.timeouts.add(ClientTimeout::BodyIdle, 1),
        Fault::WriteTimeout => metrics.timeouts.add(ClientTimeout::WriteIdle, 1),
        Fault::ClientGone => metrics.closed.add(CloseReason::ClientGone, 1),
        Fault::DrainTimeout => metrics.closed.add(CloseReason::Drain, 1),
        _ => {}
    }
}

/// Ends a call whose answer was begun with trailers that say why; false when the client can only be cut off.
async fn end_call(exchange: &Exchange<'_>, client: &mut Downstream<'_>, failure: &Failure) -> bool {
    let Some(call) = exchange.call.as_ref().filter(|call| !call.is_web()) else { return false };
    let fits = client.is_http2() && !client.is_cut() && fault::status(failure.fault) != 499;
    if !fits || exchange.tunnel || !client.finish_body(Some(&call.trailers(failure))) {
        return false;
    }
    respond::flush(client, exchange.peer.listener.timeouts.write_idle).await.is_ok()
}

/// Answers a failure if anything can still be answered.
async fn answer_failure(
    engine: &Engine,
    exchange: &mut Exchange<'_>,
    client: &mut Downstream<'_>,
    request: &Head,
    failure: Failure,
) -> Next {
    let fault = failure.fault;
    count_client_fault(exchange, fault);
    if exchange.call.is_some() {
        exchange.grpc_status = Some(call::failed_status(fault));
    }
    if exchange.answered {
        let ended = end_call(exchange, client, &failure).await;
        exchange.failure = Some(failure);
        if ended {
            return Next::Close;
        }
        client.abort(fault::error_code(fault));
        return Next::Abort;
    }
    let status = fault::status(fault);
    let reply = match &exchange.call {
        Some(call) => call.reply(&failure, request, &exchange.request_id),
        None => fault::reply(fault, &exchange.request_id),
    };
    exchange.failure = Some(failure);
    if status == 499 || client.is_cut() {
        exchange.status = status;
        client.abort(fault::error_code(fault));
        return Next::Abort;
    }
    if matches!(fault, Fault::BadRequest | Fault::BodyTimeout | Fault::BodyTooLarge | Fault::Bug) {
        client.close_after();
    }
    match send(engine, exchange, client, &reply).await {
        Ok(next) => next,
        Err(failure) => {
            client.abort(fault::error_code(failure.fault));
            Next::Abort
        }
    }
}
