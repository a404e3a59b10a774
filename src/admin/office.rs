//! Carries out what is ordered through the control interface.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http_body_util::BodyExt;
use hyper::StatusCode;
use hyper::body::{Bytes, Frame};
use hyper::http::request::Parts;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

use super::order::{Follow, NoOrder, Order, ServerOrder};
use super::page::{Page, TEXT, page, with_body};
use super::view;
use crate::control::command::{Command, LastReload};
use crate::control::workers::{Check, Line, OrderError, Workers};
use crate::net::{Address, Endpoint};
use crate::pool::{self, Keep, Pool};
use crate::server::{self, Server};
use crate::snapshot::Live;
use crate::snapshot::build::make_server;

const JSON: &str = "application/json";

/// A header without which nothing is changed: web pages of other origins cannot send it unasked.
pub const CONTROL_HEADER: &str = "lintel-control";

/// Lines that wait for whoever follows them.
const WAITING: usize = 256;

/// What orders work on.
pub struct Office {
    pub live: Arc<Live>,
    pub workers: Arc<Workers>,
    /// To the program as a whole.
    pub commands: mpsc::UnboundedSender<Command>,
    pub last_reload: Arc<Mutex<LastReload>>,
    /// Has the servers of a pool checked as they are now.
    pub check: Check,
    /// Ends, after a while, what runs on a server that was taken out.
    pub part: Part,
}

/// Sees a server off.
pub type Part = Box<dyn Fn(Arc<Server>) + Send + Sync>;

/// The answer to an order; `None` when the request is none.
pub async fn answer(office: &Office, head: &Parts) -> Option<Page> {
    match Order::read(&head.method, head.uri.path(), head.uri.query().unwrap_or_default()) {
        Ok(order) if order.changes() && !head.headers.contains_key(CONTROL_HEADER) => {
            Some(refuse(StatusCode::FORBIDDEN, "send the header `Lintel-Control: 1` to change something"))
        }
        Ok(order) => Some(office.carry_out(order).await),
        Err(NoOrder::Unknown) => None,
        Err(NoOrder::Method(method)) => {
            Some(refuse(StatusCode::METHOD_NOT_ALLOWED, &format!("only {method}")))
        }
        Err(NoOrder::Wrong(why)) => Some(refuse(StatusCode::BAD_REQUEST, &why)),
    }
}

impl Office {
    async fn carry_out(&self, order: Order) -> Page {
        match order {
            Order::Status => say(StatusCode::OK, &view::status(self)),
            Order::Plan => self.plan().await,
            Order::Config => self.config().await,
            Order::Reload => self.reload().await,
            Order::Upgrade => self.upgrade().await,
            Order::Rollout { pool } => report(self.workers.rollout(&pool).await),
            Order::Scale { pool, instances } => report(self.workers.scale(&pool, instances).await),
            Order::Pause { pool, timeout } => self.of_pool(&pool, |pool| {
                pool.pause(timeout)?;
                Ok(json!({ "paused_s": timeout.as_secs_f64(), "waiting": pool.waiting() }))
            }),
            Order::Resume { pool } => self.of_pool(&pool, |pool| {
                let waiting = pool.waiting();
                pool.resume();
                Ok(json!({ "let_go": waiting }))
            }),
            Order::Server { pool, server, what, keep } => {
                self.of_pool(&pool, |pool| self.order_server(pool, &server, &what, keep))
            }
            Order::Logs { pool, worker, lines, follow } => self.logs(&pool, worker, lines, follow),
        }
    }

    fn of_pool(&self, name: &str, order: impl FnOnce(&Arc<Pool>) -> Result<Value, pool::OrderError>) -> Page {
        let snapshot = self.live.load();
        let Some(plan) = snapshot.pools.get(name) else {
            let known: Vec<&str> = snapshot.pools.keys().map(String::as_str).collect();
            let why = format!("there is no pool `{name}`; there are: {}", known.join(", "));
            return refuse(StatusCode::NOT_FOUND, &why);
        };
        match order(&plan.pool) {
            Ok(value) => say(StatusCode::OK, &value),
            Err(error @ pool::OrderError::NoServer { .. }) => {
                refuse(StatusCode::NOT_FOUND, &error.to_string())
            }
            Err(error @ (pool::OrderError::Weight | pool::OrderError::Pause)) => {
                refuse(StatusCode::BAD_REQUEST, &error.to_string())
            }
            Err(error) => refuse(StatusCode::CONFLICT, &error.to_string()),
        }
    }

    fn order_server(
        &self,
        pool: &Arc<Pool>,
        server: &str,
        what: &ServerOrder,
        keep: Keep,
    ) -> Result<Value, pool::OrderError> {
        match what {
            ServerOrder::Drain { timeout } => {
                let server = pool.drain_server(server, keep, *timeout)?;
                return Ok(view::server(&server, pool));
            }
            ServerOrder::Undrain => {
                let server = pool.undrain_server(server)?;
                return Ok(view::server(&server, pool));
            }
            ServerOrder::Weigh { weight } => pool.weigh_server(server, *weight, keep)?,
            ServerOrder::Remove => {
                let gone = pool.remove_server(server, keep)?;
                (self.check)(pool);
                (self.part)(gone);
            }
            ServerOrder::Add { weight } => {
                let address: Address =
                    server.parse().map_err(|_| pool::OrderError::Address(server.to_owned()))?;
                let spec = server::Spec { address, weight: *weight, backup: false };
                let metrics = Arc::clone(&self.live.load().metrics);
                pool.add_server(spec, keep, |spec| {
                    let endpoint = Endpoint::of(&spec.address)?;
                    let identity = spec.address.to_string().into();
                    Some(make_server(&metrics, &pool.name, identity, endpoint, spec))
                })?;
                (self.check)(pool);
            }
        }
        let servers = pool.servers();
        Ok(
            json!({ "servers": servers.servers().iter().map(|server| view::server(server, pool)).collect::<Vec<_>>() }),
        )
    }

    async fn reload(&self) -> Page {
        let (waiter, answer) = oneshot::channel();
        let sent = self.commands.send(Command::Reload(waiter)).is_ok();
        match answer.await {
            Ok(Ok(reloaded)) if sent => say(StatusCode::OK, &view::reloaded(&reloaded)),
            Ok(Err(problems)) => {
                let error = "the config has problems; nothing has changed";
                let problems: Vec<_> = problems.0.iter().map(view::problem).collect();
                say(StatusCode::UNPROCESSABLE_ENTITY, &json!({ "error": error, "problems": problems }))
            }
            _ => refuse(StatusCode::CONFLICT, &OrderError::Ending.to_string()),
        }
    }

    async fn upgrade(&self) -> Page {
        let (waiter, answer) = oneshot::channel();
        let sent = self.commands.send(Command::Upgrade(waiter)).is_ok();
        match answer.await {
            Ok(Ok(pid)) if sent => say(StatusCode::OK, &json!({ "pid": pid, "before": std::process::id() })),
            Ok(Err(why)) => refuse(StatusCode::CONFLICT, &why),
            _ => refuse(StatusCode::CONFLICT, &OrderError::Ending.to_string()),
        }
    }

    fn logs(&self, pool: &str, worker: Option<u32>, lines: usize, follow: Follow) -> Page {
        let Some(output) = self.workers.output(pool) else {
            return refuse(StatusCode::NOT_FOUND, &OrderError::NoApp(pool.to_owned()).to_string());
        };
        let mut coming = output.follow();
        let there: String = output.last(worker, lines).iter().map(written).collect();
        if follow == Follow::Now {
            return page(StatusCode::OK, TEXT, there);
        }
        let (sender, receiver) = mpsc::channel(WAITING);
        tokio::spawn(async move {
            if sender.send(Bytes::from(there)).await.is_err() {
                return;
            }
            loop {
                let text = match coming.recv().await {
                    Ok(line) if worker.is_none_or(|worker| line.worker == worker) => written(&line),
                    Ok(_) => continue,
                    Err(tokio::sync::broadcast::error::RecvError::Lagged(missed)) => {
                        format!("... {missed} lines came faster than they were read\n")
                    }
                    Err(_) => return,
                };
                if sender.send(Bytes::from(text)).await.is_err() {
                    return;
                }
            }
        });
        with_body(StatusCode::OK, TEXT, Coming(receiver).boxed_unsync())
    }
}

fn written(line: &Line) -> String {
    format!("{} {} {}\n", line.worker, line.source.as_str(), line.text)
}

fn report(outcome: Result<Value, OrderError>) -> Page {
    match outcome {
        Ok(value) => say(StatusCode::OK, &value),
        Err(error @ OrderError::NoApp(_)) => refuse(StatusCode::NOT_FOUND, &error.to_string()),
        Err(error) => refuse(StatusCode::CONFLICT, &error.to_string()),
    }
}

pub(super) fn refuse(status: StatusCode, why: &str) -> Page {
    say(status, &json!({ "error": why }))
}

pub(super) fn say(status: StatusCode, value: &Value) -> Page {
    page(status, JSON, format!("{value}\n"))
}

/// A body whose pieces come from elsewhere.
struct Coming(mpsc::Receiver<Bytes>);

impl hyper::body::Body for Coming {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }
}
