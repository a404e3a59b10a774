//! Before a plan is in force: what is new in it is started, looked up and checked, so that its first request finds a server.
//!
//! It decides nothing: a pool whose servers do not come up in time is taken as it is.

use std::sync::Arc;
use std::time::Duration;

use crate::discovery::expand::host_names;
use crate::server::Health;
use crate::snapshot::{PoolPlan, Snapshot};

/// How long a reload may be held up: as long as a start.
const LIMIT: Duration = Duration::from_secs(5);
const BETWEEN_LOOKS: Duration = Duration::from_millis(10);

/// Waits until every pool of the next plan that is new or changed has a server to give, as far as one may come.
pub async fn up(next: &Snapshot, before: &Snapshot) {
    let changed = next.pools.iter().filter(|(name, plan)| {
        before.pools.get(*name).is_none_or(|old| !Arc::ptr_eq(old, plan))
    });
    let mut cold: Vec<_> = changed.map(|(name, plan)| (plan, before.pools.get(name))).collect();
    let warming = async {
        loop {
            cold.retain(|(plan, before)| may_warm(plan, *before));
            if cold.is_empty() {
                return;
            }
            tokio::time::sleep(BETWEEN_LOOKS).await;
        }
    };
    if tokio::time::timeout(LIMIT, warming).await.is_err() {
        for (plan, _) in cold {
            tracing::warn!(pool = &*plan.pool.name, "taken before a server of it is up");
        }
    }
}

/// Whether a pool has no server to give, and one may still come: it is not checked, not looked up or not started yet.
fn may_warm(plan: &PoolPlan, before: Option<&Arc<PoolPlan>>) -> bool {
    let (pool, spec) = (&plan.pool, &plan.pool.spec);
    if pool.has_other(&[]) {
        return false;
    }
    let set = pool.servers();
    let is_unchecked = |health| spec.health_check.is_some() && health == Health::Unknown;
    if set.servers().iter().any(|server| is_unchecked(server.state.health())) {
        return true;
    }
    // An app that runs already has had its time.
    let had_app = before.is_some_and(|before| before.pool.spec.app.is_some());
    let starts = spec.app.as_ref().is_some_and(|app| !app.task) && !had_app;
    let is_expected = starts || spec.workers_of.is_some() || !host_names(&spec.servers).is_empty();
    set.servers().is_empty() && is_expected
}
