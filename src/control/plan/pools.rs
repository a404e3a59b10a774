//! Pools and the workers of their apps.

use super::keys::KeyChange;
use super::parts::{Pair, pairs};
use super::{Change, Kind, Section, Sides, words};
use crate::config::KeyPath;
use crate::pool::Spec;
use crate::units::Duration;
use crate::worker::spec::Instances;
use crate::worker::{self, Turnover};

/// Keys of a pool that are compared on their own.
const APART: [&str; 2] = ["servers", "app"];

impl Sides<'_> {
    pub(super) fn pools(&self) -> Vec<Change> {
        let pairs = pairs(&self.before.file.pools, &self.after.file.pools);
        pairs.flat_map(|pair| self.pool(&pair)).collect()
    }

    fn pool(&self, pair: &Pair<'_, Spec>) -> Vec<Change> {
        let orders = self.figures.orders(pair.name);
        if pair.before == pair.after && self.renewed.is_empty() && orders == orders.kept() {
            return Vec::new();
        }
        let mut changes: Vec<Change> = self.settings(pair).into_iter().collect();
        changes.extend(self.servers(pair));
        changes.extend(self.workers(pair));
        changes
    }

    fn settings(&self, &Pair { name, before, after }: &Pair<'_, Spec>) -> Option<Change> {
        let at = KeyPath::of(&["pools", name]);
        let new = |kind| Change::new(kind, Section::Pools, format!("pool {name}"), at.clone());
        let old_part = before.map(|spec| self.part_before(at.clone(), spec).without(&APART));
        let new_part = after.map(|spec| self.part_after(at.clone(), spec).without(&APART));
        match (&old_part, &new_part) {
            (None, Some(part)) => Some(new(Kind::Added).keys(part.as_new())),
            (Some(part), None) => {
                let tunnels = self.figures.tunnels(name);
                let effect = || format!("{} to it", words::counted(tunnels, "open WebSocket"));
                Some(new(Kind::Removed).keys(part.as_old()).effect((tunnels > 0).then(effect)))
            }
            (Some(old_part), Some(new_part)) => {
                let keys = self.between(old_part, new_part);
                if keys.is_empty() {
                    return None;
                }
                let change = new(Kind::Changed).keys(keys);
                Some(match (before, after) {
                    (Some(before), Some(after)) => self.effects(change, name, before, after),
                    _ => change,
                })
            }
            (None, None) => None,
        }
    }

    fn effects(&self, change: Change, name: &str, before: &Spec, after: &Spec) -> Change {
        // Workers are the same ones, however they are reached.
        let has_list = |spec: &Spec| spec.app.is_none() && spec.workers_of.is_none();
        let is_anew = has_list(before) && has_list(after) && !before.has_same_servers(after);
        let anew = || {
            let in_flight = self.figures.in_flight(name, None);
            let goes = words::in_flight_goes(in_flight, self.drain_timeout()).replace("on it", "on them");
            format!("all servers are made anew, with no health and no load known of them; {goes}")
        };
        let forgets = || "sessions that are bound to a server are bound anew".to_owned();
        let is_sticky = |key: &KeyChange| key.name.starts_with("sticky");
        let loses_sessions = before.sticky.is_some() && change.keys.iter().any(is_sticky);
        change.effect(is_anew.then(anew)).effect(loses_sessions.then(forgets))
    }

    fn workers(&self, &Pair { name, before, after }: &Pair<'_, Spec>) -> Option<Change> {
        let at = KeyPath::of(&["pools", name, "app"]);
        let (before, after) =
            (before.and_then(|pool| pool.app.as_ref()), after.and_then(|pool| pool.app.as_ref()));
        let new = |kind| Change::new(kind, Section::Workers, format!("workers of {name}"), at.clone());
        match (before, after) {
            (None, Some(spec)) => {
                let keys = self.part_after(at.clone(), spec).as_new();
                let starting = words::counted(self.count(spec.instances).into(), "worker");
                Some(new(Kind::Added).keys(keys).effect(format!("{starting} will be started")))
            }
            (Some(spec), None) => {
                let keys = self.part_before(at.clone(), spec).as_old();
                let effect = ending(self.running(name, spec), spec.stop.timeout);
                Some(new(Kind::Removed).keys(keys).effect(effect))
            }
            (Some(old), Some(spec)) => {
                let keys =
                    self.between(&self.part_before(at.clone(), old), &self.part_after(at.clone(), spec));
                if keys.is_empty() {
                    return None;
                }
                let running = self.running(name, old);
                let turnover = Turnover::of(old, spec, running, |instances| self.count(instances));
                let change = new(Kind::Changed).keys(keys).effect(turning(turnover, running, spec));
                Some(Change { turnover: Some(turnover), ..change })
            }
            (None, None) => None,
        }
    }

    fn running(&self, pool: &str, spec: &worker::Spec) -> u16 {
        let known = self.figures.pools.get(pool).and_then(|pool| pool.instances);
        known.unwrap_or_else(|| self.count(spec.instances))
    }

    fn count(&self, instances: Instances) -> u16 {
        match instances {
            Instances::Auto => self.figures.auto_instances,
            Instances::Count(count) => count,
            Instances::Scaled(spec) => spec.min,
        }
    }
}

fn ending(running: u16, timeout: Duration) -> String {
    let who = words::counted(running.into(), "worker");
    format!("{who} will end; requests in flight have {timeout}, then it has {timeout} to exit")
}

fn turning(turnover: Turnover, running: u16, spec: &worker::Spec) -> String {
    let from = words::counted(running.into(), "worker");
    let surge = spec.rollout.surge;
    match turnover {
        Turnover::Stay => format!("{from} go on: none is started anew"),
        Turnover::Scale(count) if count > running => {
            format!("{} more", words::counted((count - running).into(), "worker"))
        }
        Turnover::Scale(count) => format!("{} fewer", words::counted((running - count).into(), "worker")),
        Turnover::RollOver(count) if count == running => {
            format!("{from} will roll over, {surge} at a time: an old one goes once a new one is ready")
        }
        Turnover::RollOver(count) => {
            format!(
                "{from} will roll over to {count}, {surge} at a time: an old one goes once a new one is ready"
            )
        }
    }
}
