//! Carries out what is ordered through the control interface.

use std::sync::Arc;

use hyper::StatusCode;
use parking_lot::Mutex;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

use super::follow::{Followers, Source};
use super::order::{Follow, Order, ServerOrder, shown};
use super::page::{Page, TEXT, page};
use super::view;
use crate::control::command::{Command, LastReload};
use crate::control::workers::{Check, Line, OrderError, Workers};
use crate::net::{Address, Endpoint};
use crate::observe::Events;
use crate::pool::{self, Keep, Pool};
use crate::server::{self, Server};
use crate::snapshot::Live;
use crate::snapshot::build::make_server;

pub(super) const JSON: &str = "application/json";
const EVENTS: &str = "text/event-stream";

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
    pub events: Events,
    pub followers: Followers,
}

/// Sees a server off.
pub type Part = Box<dyn Fn(Arc<Server>) + Send + Sync>;

impl Office {
    /// The answer to an order. `None` for the pages, which need no office.
    pub(super) async fn carry_out(&self, order: Order) -> Option<Page> {
        Some(match order {
            Order::Page | Order::OpenApi => return None,
            Order::Status => show(view::status(self)),
            Order::Listeners => show(view::listeners(self)),
            Order::Routes => self.routes().await,
            Order::Certificates => show(view::certificates(self)),
            Order::Pools => show(view::pools(self)),
            Order::Pool { pool } => match self.live.load().pools.get(&*pool) {
                Some(plan) => show(view::pool(plan, self)),
                None => self.no_pool(&pool),
            },
            Order::Events => {
                let coming = Source::Events(self.events.listen());
                self.followers.follow(EVENTS, ": listening\n\n".to_owned(), coming)
            }
            Order::Plan => self.plan().await,
            Order::Config => self.config().await,
            Order::Reload => self.reload().await,
            Order::Upgrade => self.upgrade().await,
            Order::Rollout { pool } => report(self.workers.rollout(&pool).await),
            Order::Scale { pool, instances } => report(self.workers.scale(&pool, instances).await),
            Order::Pause { pool, timeout } => self.of_pool(&pool, |pool| {
                pool.pause(timeout)?;
                Ok(view::json(view::Paused { paused_s: timeout.as_secs_f64(), waiting: pool.waiting() }))
            }),
            Order::Resume { pool } => self.of_pool(&pool, |pool| {
                let waited = pool.resume();
                let was_paused = waited.is_some();
                Ok(view::json(view::Resumed { let_go: waited.unwrap_or_default(), was_paused }))
            }),
            Order::Server { pool, server, what, keep } => {
                self.of_pool(&pool, |pool| self.order_server(pool, &server, &what, keep))
            }
            Order::Logs { pool, worker, lines, follow } => self.logs(&pool, worker, lines, follow),
        })
    }

    fn no_pool(&self, name: &str) -> Page {
        let snapshot = self.live.load();
        let known: Vec<&str> = snapshot.pools.keys().map(String::as_str).collect();
        let why = format!("there is no pool `{}`; there are: {}", shown(name), known.join(", "));
        refuse(StatusCode::NOT_FOUND, &why)
    }

    fn of_pool(&self, name: &str, order: impl FnOnce(&Arc<Pool>) -> Result<Value, pool::OrderError>) -> Page {
        let snapshot = self.live.load();
        let Some(plan) = snapshot.pools.get(name) else { return self.no_pool(name) };
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
                return Ok(view::json(view::server(&server, pool)));
            }
            ServerOrder::Undrain => {
                let server = pool.undrain_server(server)?;
                return Ok(view::json(view::server(&server, pool)));
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
        Ok(view::json(view::servers(pool)))
    }

    async fn reload(&self) -> Page {
        let (waiter, answer) = oneshot::channel();
        let sent = self.commands.send(Command::Reload(waiter)).is_ok();
        match answer.await {
            Ok(Ok(reloaded)) if sent => show(view::reloaded(reloaded)),
            Ok(Err(problems)) => {
                let error = "the config has problems; nothing has changed";
                let problems: Vec<_> = problems.0.iter().map(view::problem).collect();
                say(StatusCode::UNPROCESSABLE_ENTITY, &json!({ "error": error, "problems": problems }))
            }
            _ => ending(),
        }
    }

    async fn upgrade(&self) -> Page {
        let (waiter, answer) = oneshot::channel();
        let sent = self.commands.send(Command::Upgrade(waiter)).is_ok();
        match answer.await {
            Ok(Ok(pid)) if sent => show(view::Upgraded { pid, before: std::process::id() }),
            Ok(Err(why)) => refuse(StatusCode::CONFLICT, &why),
            _ => ending(),
        }
    }

    fn logs(&self, pool: &str, worker: Option<u32>, lines: usize, follow: Follow) -> Page {
        if !self.live.load().pools.contains_key(pool) {
            return self.no_pool(pool);
        }
        let Some(output) = self.workers.output(pool) else {
            return refuse(StatusCode::NOT_FOUND, &OrderError::NoApp(pool.to_owned()).to_string());
        };
        let coming = output.follow();
        if let (Some(index), true) = (worker, output.last(worker, 1).is_empty()) {
            let known = self.workers.indices(pool);
            if !known.contains(&index) {
                let known = known.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
                let why = format!("`{pool}` has no worker {index}, and no line of one; there are: {known}");
                return refuse(StatusCode::NOT_FOUND, &why);
            }
        }
        let there: String = output.last(worker, lines).iter().map(written).collect();
        if follow == Follow::Now {
            return page(StatusCode::OK, TEXT, there);
        }
        self.followers.follow(TEXT, there, Source::Lines { coming, worker })
    }
}

pub(super) fn written(line: &Line) -> String {
    format!("{} {} {}\n", line.worker, line.source.as_str(), line.text)
}

fn report(outcome: Result<Value, OrderError>) -> Page {
    match outcome {
        Ok(value) => say(StatusCode::OK, &value),
        Err(error @ OrderError::NoApp(_)) => refuse(StatusCode::NOT_FOUND, &error.to_string()),
        Err(error) => refuse(StatusCode::CONFLICT, &error.to_string()),
    }
}

pub(super) fn ending() -> Page {
    refuse(StatusCode::SERVICE_UNAVAILABLE, &OrderError::Ending.to_string())
}

pub(super) fn show(view: impl Serialize) -> Page {
    say(StatusCode::OK, &view::json(view))
}

pub(super) fn refuse(status: StatusCode, why: &str) -> Page {
    say(status, &json!({ "error": why }))
}

pub(super) fn say(status: StatusCode, value: &Value) -> Page {
    page(status, JSON, format!("{value}\n"))
}
