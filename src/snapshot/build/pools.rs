//! Pools of a plan, with the servers, waiting requests and sessions of the plan before.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::{Builder, make_server};
use crate::config::File;
use crate::discovery::expand::answers_of;
use crate::discovery::{Poke, expand};
use crate::pool::spec::{RetryOn, StickySpec};
use crate::pool::{self, Pool, StickyKey, forwarded};
use crate::server::{self, Server};
use crate::snapshot::PoolPlan;
use crate::upstream::{self, ClientTls, Http2};
use crate::wire::h2::Liveness;

/// ALPN names of connections to servers.
const HTTP1: &[&[u8]] = &[b"http/1.1"];
const HTTP2: &[&[u8]] = &[b"h2"];

/// How long a connection of HTTP/2 to a server may be idle when the user writes nothing.
const HTTP2_LIFE: Duration = Duration::from_secs(60);

impl Builder<'_> {
    pub(super) fn pools(&mut self, file: &File) -> BTreeMap<String, Arc<PoolPlan>> {
        let plans = file.pools.iter().filter_map(|(name, spec)| {
            let plan = match spec.workers_of.as_ref().and_then(|other| file.pools.get(other)) {
                // Its servers are judged by the checks of their own pool.
                Some(owner) => {
                    let health_check = owner.health_check.clone();
                    self.pool(name, &pool::Spec { health_check, ..spec.clone() })
                }
                None => self.pool(name, spec),
            };
            Some((name.clone(), plan?))
        });
        plans.collect()
    }

    fn pool(&mut self, name: &str, spec: &pool::Spec) -> Option<Arc<PoolPlan>> {
        let metrics = &self.surroundings.metrics;
        let shared: Arc<str> = name.into();
        let before = self.surroundings.before.and_then(|before| before.pools.get(name));
        if let Some(before) = before.filter(|before| is_same(before, spec)) {
            return Some(Arc::clone(before));
        }
        let servers = self.servers(&shared, spec, before);
        let key = self.sticky_key(name, spec);
        let is_http2 = spec.protocol == pool::spec::Protocol::Http2;
        let protocols = if is_http2 { HTTP2 } else { HTTP1 };
        let tls = spec.tls.as_ref().map(|tls| ClientTls::build(tls, protocols, &self.roots)).transpose();
        let tls = match tls {
            Ok(tls) => tls,
            Err(errors) => {
                for error in errors {
                    self.problem(format!("pools.{name}.tls.{}", error.at), error.message);
                }
                return None;
            }
        };
        self.check_names(name, spec, tls.as_ref());
        let before = before.map(|before| before.pool.latest());
        let pool = Pool::build(
            Arc::clone(&shared),
            spec.clone(),
            servers,
            key.as_ref(),
            metrics.pool(name),
            before.as_deref(),
        );
        let on = &spec.retries.on;
        let statuses = [(RetryOn::Status502, 502), (RetryOn::Status503, 503), (RetryOn::Status504, 504)];
        Some(Arc::new(PoolPlan {
            pool,
            tls,
            http2: is_http2.then(|| http2(spec)),
            connect: upstream::Limits {
                connect: spec.timeouts.connect.std(),
                unacknowledged: spec.timeouts.unacknowledged.std(),
            },
            response: spec.timeouts.response.std(),
            body_idle: spec.timeouts.body_idle.std(),
            tunnel_idle: spec.timeouts.tunnel_idle.std(),
            server_keep_alive: spec.timeouts.server_keep_alive.map(|life| life.std()),
            told: forwarded::names(&spec.forwarded_headers),
            poke: Poke::default(),
            retry_statuses: statuses
                .iter()
                .filter(|(key, _)| on.contains(key))
                .map(|(_, status)| *status)
                .collect(),
            retry_connect: on.contains(&RetryOn::ConnectFailure),
            retry_reset: on.contains(&RetryOn::Reset),
            retry_timeout: on.contains(&RetryOn::Timeout),
        }))
    }

    /// With TLS every server needs a name that its certificate can be verified for.
    fn check_names(&mut self, name: &str, spec: &pool::Spec, tls: Option<&ClientTls>) {
        let Some(tls) = tls else { return };
        for (place, server) in spec.servers.iter().enumerate() {
            if let Err(error) = tls.server_name(&server.address) {
                self.problem(format!("pools.{name}.servers[{place}]"), error);
            }
        }
    }

    fn sticky_key(&mut self, name: &str, spec: &pool::Spec) -> Option<StickyKey> {
        let Some(StickySpec::Cookie(cookie)) = &spec.sticky else { return None };
        let (key, at) = match (&cookie.secret, self.surroundings.state_directory) {
            (Some(secret), _) => (StickyKey::load(&secret.file), format!("pools.{name}.sticky.secret.file")),
            (None, Some(state)) => (StickyKey::load_or_create(state), format!("pools.{name}.sticky")),
            (None, None) => return None,
        };
        key.map_err(|error| self.problem(at, error)).ok()
    }

    /// Those of the pool before that are still asked for, and new ones. Addresses of host names stay until they are looked
    /// up; workers stay, since only their app ends them.
    fn servers(
        &self,
        pool: &Arc<str>,
        spec: &pool::Spec,
        before: Option<&Arc<PoolPlan>>,
    ) -> Vec<Arc<Server>> {
        let known = before.filter(|before| before.pool.spec.has_same_servers(spec));
        let known = known.map(|before| before.pool.latest().servers());
        let known = known.as_ref().map_or(&[][..], |set| set.servers());
        if spec.app.is_some() || spec.workers_of.is_some() {
            let own = known.to_vec();
            return if own.is_empty() { self.workers_of(spec) } else { own };
        }
        let metrics = &self.surroundings.metrics;
        let make =
            |identity, endpoint, spec: &server::Spec| make_server(metrics, pool, identity, endpoint, spec);
        let kept = before.map(|before| before.pool.latest().kept_overrides()).unwrap_or_default();
        expand(&kept.apply(&spec.servers), &answers_of(known), known, make)
    }

    /// The workers that the pool of this name has at this moment, for one that is to share them from now on.
    fn workers_of(&self, spec: &pool::Spec) -> Vec<Arc<Server>> {
        let before = self.surroundings.before.zip(spec.workers_of.as_ref());
        let owner = before.and_then(|(before, owner)| before.pools.get(owner));
        let owner = owner.filter(|owner| owner.pool.spec.app.is_some());
        owner.map_or_else(Vec::new, |owner| owner.pool.latest().servers().servers().to_vec())
    }
}

/// Whether a plan can stay as it is; what is read of files may have changed.
fn is_same(before: &PoolPlan, spec: &pool::Spec) -> bool {
    let reads_files = spec.tls.is_some() || matches!(spec.sticky, Some(StickySpec::Cookie(_)));
    before.pool.spec == *spec && !reads_files && !before.pool.would_forget()
}

fn http2(spec: &pool::Spec) -> Http2 {
    Http2 {
        streams: spec.http2.streams,
        liveness: Liveness {
            ping_after: spec.http2.ping_after.std(),
            ping_timeout: spec.http2.ping_timeout.std(),
        },
        life: spec.timeouts.server_keep_alive.map_or(HTTP2_LIFE, |life| life.std()),
    }
}
