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

/// What can be ordered for a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ordered {
    Added,
    Drained,
    Weighed,
    Removed,
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

impl Ordered {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Drained => "drained",
            Self::Weighed => "weighed",
            Self::Removed => "removed",
        }
    }
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

    /// One that was added is forgotten; one that is `written` in the file is taken out.
    pub fn remove(&mut self, server: &str, keep: Keep, written: &[server::Spec]) {
        self.0.remove(server);
        if written.iter().any(|spec| spec.address.to_string() == server) {
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

    /// What was ordered for a server that is there, and what a reload does to that.
    pub fn of_server(&self, server: &str) -> impl Iterator<Item = (Ordered, Keep)> {
        let orders = self.0.get(server);
        let of = |what: Ordered, keep: Option<Keep>| keep.map(|keep| (what, keep));
        let all = orders.map(|orders| {
            [
                of(Ordered::Added, orders.added.as_ref().map(|(_, keep)| *keep)),
                of(Ordered::Drained, orders.drained),
                of(Ordered::Weighed, orders.weight.map(|(_, keep)| keep)),
                of(Ordered::Removed, orders.removed),
            ]
        });
        all.into_iter().flatten().flatten()
    }

    /// Servers of the file that were taken out.
    pub fn removed(&self) -> impl Iterator<Item = (&Arc<str>, Keep)> {
        self.0.iter().filter_map(|(server, orders)| Some((server, orders.removed?)))
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
        orders.remove("10.0.0.1:80", Keep::OverReloads, &written);
        assert_eq!(addresses(&orders.apply(&written)), ["10.0.0.2:80", "10.0.0.3:80"]);
        assert_eq!(addresses(&orders.kept().apply(&written)), ["10.0.0.2:80"]);
        orders.remove("10.0.0.3:80", Keep::UntilReload, &written);
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

    #[test]
    fn one_that_was_added_and_is_in_the_file_by_now_stays_out_when_it_is_taken_out() {
        let mut orders = Overrides::default();
        orders.add(spec("10.0.0.3:80"), Keep::OverReloads);
        let written = [spec("10.0.0.1:80"), spec("10.0.0.3:80")];
        assert_eq!(addresses(&orders.kept().apply(&written)), ["10.0.0.1:80", "10.0.0.3:80"]);
        orders.remove("10.0.0.3:80", Keep::OverReloads, &written);
        assert_eq!(addresses(&orders.kept().apply(&written)), ["10.0.0.1:80"]);
        assert_eq!(orders.removed().map(|(server, _)| &**server).collect::<Vec<_>>(), ["10.0.0.3:80"]);
    }

    #[test]
    fn what_comes_and_goes_leaves_nothing_behind() {
        let mut orders = Overrides::default();
        for host in 1..=9 {
            let name = format!("10.0.0.{host}:80");
            orders.add(spec(&name), Keep::OverReloads);
            orders.drain(&name, Keep::OverReloads);
            orders.remove(&name, Keep::OverReloads, &[]);
        }
        orders.drain("10.0.0.1:80", Keep::UntilReload);
        orders.undrain("10.0.0.1:80");
        orders.undrain("never there");
        assert_eq!(orders, Overrides::default());
    }

    #[test]
    fn it_says_what_was_ordered_for_a_server_and_what_a_reload_does_to_that() {
        let mut orders = Overrides::default();
        orders.add(spec("10.0.0.3:80"), Keep::UntilReload);
        orders.drain("10.0.0.3:80", Keep::UntilReload);
        orders.weigh("10.0.0.3:80", 5, Keep::OverReloads);
        let shown: Vec<_> = orders.of_server("10.0.0.3:80").collect();
        let until = Keep::UntilReload;
        assert_eq!(
            shown,
            [(Ordered::Added, until), (Ordered::Drained, until), (Ordered::Weighed, Keep::OverReloads)]
        );
        assert_eq!(orders.of_server("10.0.0.4:80").count(), 0);
    }

    /// Where an order for one of three servers leads, whatever came before it.
    #[derive(Clone, Copy, Debug)]
    enum Step {
        Drain,
        Undrain,
        Weigh,
        Add,
        Remove,
        Reload,
    }

    proptest::proptest! {
        #[test]
        fn a_reload_leaves_what_was_to_be_kept_and_a_second_one_changes_nothing(
            steps in proptest::collection::vec((0..6usize, 0..3usize, proptest::bool::ANY), 0..40),
        ) {
            let written = [spec("10.0.0.0:80"), spec("10.0.0.1:80")];
            let mut orders = Overrides::default();
            for (step, host, is_kept) in steps {
                let keep = if is_kept { Keep::OverReloads } else { Keep::UntilReload };
                let name = format!("10.0.0.{host}:80");
                let is_there = addresses(&orders.apply(&written)).contains(&name);
                let step = [Step::Drain, Step::Undrain, Step::Weigh, Step::Add, Step::Remove, Step::Reload][step];
                match step {
                    Step::Drain if is_there => orders.drain(&name, keep),
                    Step::Undrain if is_there => orders.undrain(&name),
                    Step::Weigh if is_there => orders.weigh(&name, 3, keep),
                    Step::Add if !is_there => orders.add(spec(&name), keep),
                    Step::Remove if is_there => orders.remove(&name, keep, &written),
                    Step::Reload => orders = orders.kept(),
                    _ => continue,
                }
                let there = addresses(&orders.apply(&written));
                match step {
                    Step::Add => proptest::prop_assert!(there.contains(&name)),
                    Step::Remove => proptest::prop_assert!(!there.contains(&name)),
                    Step::Drain => proptest::prop_assert!(orders.is_drained(&name)),
                    Step::Undrain => proptest::prop_assert!(!orders.is_drained(&name)),
                    Step::Weigh => proptest::prop_assert_eq!(orders.weight(&name), Some(3)),
                    Step::Reload => {}
                }
                // Nobody is in the list twice.
                let mut once = there.clone();
                once.sort_unstable();
                once.dedup();
                proptest::prop_assert_eq!(once.len(), there.len());
                proptest::prop_assert_eq!(orders.kept().kept(), orders.kept());
                if step as usize != Step::Reload as usize && is_kept && !matches!(step, Step::Undrain) {
                    let after = orders.kept();
                    if matches!(step, Step::Drain) {
                        proptest::prop_assert!(after.is_drained(&name));
                    }
                    if matches!(step, Step::Add | Step::Remove) {
                        proptest::prop_assert_eq!(
                            addresses(&after.apply(&written)).contains(&name),
                            there.contains(&name)
                        );
                    }
                }
            }
        }
    }
}
