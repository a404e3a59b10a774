//! What was ordered for the servers of a pool while it runs, beside its Spec: drained, weighed, added, taken out.
//!
//! Each order is kept over reloads or forgotten at the next one, as whoever gave it asked. Pure: it says which servers there
//! are to be and how; the pool makes them so.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::server;

/// Whether an order outlives the next reload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    UntilReload,
    OverReloads,
}

/// By the identity of the server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides(BTreeMap<Arc<str>, Orders>);

/// What was ordered for one server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Orders {
    drained: Option<Keep>,
    weight: Option<(u32, Keep)>,
    /// It is not in the file.
    added: Option<(server::Spec, Keep)>,
    removed: Option<Keep>,
}

impl Overrides {
    pub fn drain(&mut self, server: &str, keep: Keep) {
        self.of(server).drained = Some(keep);
    }

    pub fn undrain(&mut self, server: &str) {
        self.change(server, |orders| orders.drained = None);
    }

    pub fn weigh(&mut self, server: &str, weight: u32, keep: Keep) {
        self.of(server).weight = Some((weight, keep));
    }

    pub fn add(&mut self, spec: server::Spec, keep: Keep) {
        let server = spec.address.to_string();
        let orders = self.of(&server);
        *orders = Orders { added: Some((spec, keep)), ..Orders::default() };
    }

    /// One that was added is forgotten; one of the file is taken out.
    pub fn remove(&mut self, server: &str, keep: Keep) {
        let was_added = self.0.remove(server).is_some_and(|orders| orders.added.is_some());
        if !was_added {
            self.of(server).removed = Some(keep);
        }
    }

    /// What there is after a reload.
    pub fn kept(&self) -> Self {
        let kept = |keep: &Keep| *keep == Keep::OverReloads;
        let orders = self.0.iter().map(|(server, orders)| {
            let orders = Orders {
                drained: orders.drained.filter(kept),
                weight: orders.weight.filter(|(_, keep)| kept(keep)),
                added: orders.added.clone().filter(|(_, keep)| kept(keep)),
                removed: orders.removed.filter(kept),
            };
            (Arc::clone(server), orders)
        });
        Self(orders.filter(|(_, orders)| *orders != Orders::default()).collect())
    }

    /// The servers of a file, with what was added and without what was taken out.
    pub fn apply(&self, written: &[server::Spec]) -> Vec<server::Spec> {
        let is_in = |spec: &&server::Spec| {
            let orders = self.0.get(spec.address.to_string().as_str());
            orders.is_none_or(|orders| orders.removed.is_none() && orders.added.is_none())
        };
        let added = self.0.values().filter_map(|orders| orders.added.as_ref().map(|(spec, _)| spec));
        written.iter().filter(is_in).chain(added).cloned().collect()
    }

    /// The weight that was ordered for a server.
    pub fn weight(&self, server: &str) -> Option<u32> {
        self.0.get(server).and_then(|orders| orders.weight).map(|(weight, _)| weight)
    }

    pub fn is_drained(&self, server: &str) -> bool {
        self.0.get(server).is_some_and(|orders| orders.drained.is_some())
    }

    fn of(&mut self, server: &str) -> &mut Orders {
        self.0.entry(server.into()).or_default()
    }

    fn change(&mut self, server: &str, change: impl FnOnce(&mut Orders)) {
        if let Some(orders) = self.0.get_mut(server) {
            change(orders);
            if *orders == Orders::default() {
                self.0.remove(server);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(address: &str) -> server::Spec {
        server::Spec { address: address.parse().unwrap(), weight: 1, backup: false }
    }

    fn addresses(specs: &[server::Spec]) -> Vec<String> {
        specs.iter().map(|spec| spec.address.to_string()).collect()
    }

    #[test]
    fn servers_are_added_to_those_of_the_file_and_taken_out_of_them() {
        let written = [spec("10.0.0.1:80"), spec("10.0.0.2:80")];
        let mut orders = Overrides::default();
        orders.add(spec("10.0.0.3:80"), Keep::UntilReload);
        orders.remove("10.0.0.1:80", Keep::OverReloads);
        assert_eq!(addresses(&orders.apply(&written)), ["10.0.0.2:80", "10.0.0.3:80"]);
        assert_eq!(addresses(&orders.kept().apply(&written)), ["10.0.0.2:80"]);
        orders.remove("10.0.0.3:80", Keep::UntilReload);
        orders.add(spec("10.0.0.1:80"), Keep::UntilReload);
        assert_eq!(addresses(&orders.apply(&written)), ["10.0.0.2:80", "10.0.0.1:80"]);
    }

    #[test]
    fn a_reload_forgets_what_was_not_to_be_kept_order_by_order() {
        let mut orders = Overrides::default();
        orders.drain("a", Keep::UntilReload);
        orders.weigh("a", 7, Keep::OverReloads);
        assert!(orders.is_drained("a") && orders.weight("a") == Some(7));
        let kept = orders.kept();
        assert!(!kept.is_drained("a") && kept.weight("a") == Some(7));
        assert_eq!(kept.kept(), kept);
        orders.undrain("a");
        assert_eq!(orders, kept);
    }
}
