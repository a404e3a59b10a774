//! Listeners, policies, and the sections that there is one of.

use std::collections::{BTreeMap, BTreeSet};

use super::keys::{self, KeyChange, Part};
use super::{Change, Kind, Section, Sides, words};
use crate::config::{File, KeyPath, Loaded};
use crate::listener;

/// The same name in two maps.
pub(super) struct Pair<'a, T> {
    pub name: &'a str,
    pub before: Option<&'a T>,
    pub after: Option<&'a T>,
}

/// What is in one of two maps or in both, by name.
pub(super) fn pairs<'a, T>(
    before: &'a BTreeMap<String, T>,
    after: &'a BTreeMap<String, T>,
) -> impl Iterator<Item = Pair<'a, T>> {
    let names: BTreeSet<&str> = before.keys().chain(after.keys()).map(String::as_str).collect();
    names.into_iter().map(|name| Pair { name, before: before.get(name), after: after.get(name) })
}

impl Change {
    pub(super) fn new(kind: Kind, section: Section, what: String, at: KeyPath) -> Self {
        Self { kind, section, what, at, keys: Vec::new(), effects: Vec::new(), turnover: None }
    }

    pub(super) fn keys(self, keys: Vec<KeyChange>) -> Self {
        Self { keys, ..self }
    }

    pub(super) fn effect(mut self, effect: impl Into<Option<String>>) -> Self {
        self.effects.extend(effect.into());
        self
    }
}

impl<'a> Sides<'a> {
    pub(super) fn part_before(&self, at: KeyPath, spec: &impl serde::Serialize) -> Part<'a> {
        Part::new(self.before, at, spec)
    }

    pub(super) fn part_after(&self, at: KeyPath, spec: &impl serde::Serialize) -> Part<'a> {
        Part::new(self.after, at, spec)
    }

    pub(super) fn between(&self, before: &Part<'_>, after: &Part<'_>) -> Vec<KeyChange> {
        keys::between(before, after, self.renewed)
    }

    /// Something of a name: one that comes, goes or is another, in the simplest case.
    pub(super) fn named<T: serde::Serialize>(
        &self,
        section: Section,
        kind: &str,
        Pair { name, before, after }: Pair<'_, T>,
    ) -> Option<Change> {
        let at = KeyPath::of(&[section.word(), name]);
        let old = before.map(|spec| self.part_before(at.clone(), spec));
        let new = after.map(|spec| self.part_after(at.clone(), spec));
        let (kind_of_change, keys) = match (&old, &new) {
            (None, Some(new)) => (Kind::Added, new.as_new()),
            (Some(old), None) => (Kind::Removed, old.as_old()),
            (Some(old), Some(new)) => {
                let keys = self.between(old, new);
                if keys.is_empty() {
                    return None;
                }
                (Kind::Changed, keys)
            }
            (None, None) => return None,
        };
        Some(Change::new(kind_of_change, section, format!("{kind} {name}"), at).keys(keys))
    }

    pub(super) fn listeners(&self) -> Vec<Change> {
        let (before, after) = (&self.before.file, &self.after.file);
        let pairs = pairs(&before.listeners, &after.listeners);
        pairs.filter_map(|pair| self.listener(pair)).collect()
    }

    fn listener(&self, pair: Pair<'_, listener::Spec>) -> Option<Change> {
        let (name, before, after) = (pair.name, pair.before, pair.after);
        let change = self.named(Section::Listeners, "listener", pair)?;
        let open = self.figures.connections(name);
        let at = KeyPath::of(&["listeners", name, "address"]);
        let place =
            |loaded: &Loaded, spec: &listener::Spec| loaded.meant(&at, &spec.address.to_string().into());
        let change = match (before, after) {
            (None, Some(new)) => change.effect(format!("listens on {}", place(self.after, new))),
            (Some(_), None) => change.effect(words::connections_go(open, self.drain_timeout())),
            (Some(old), Some(new)) if old == new => {
                change.effect("new handshakes get what the files hold now; connections go on".to_owned())
            }
            (Some(old), Some(new)) => {
                let (was, is) = (place(self.before, old), place(self.after, new));
                let is_elsewhere = old.address != new.address;
                let moves = is_elsewhere.then(|| format!("listens on {is}, and no more on {was}"));
                let change = change.effect(moves).effect(words::connections_stay(open));
                let leads_elsewhere = is_elsewhere || old.tls.is_some() != new.tls.is_some();
                let others = redirecting(&self.after.file, name).filter(|_| leads_elsewhere);
                others.fold(change, |change, other| change.effect(self.redirects(other)))
            }
            (None, None) => return None,
        };
        Some(change)
    }

    /// A listener leads to another one that moves, which makes it another one too.
    fn redirects(&self, name: &str) -> String {
        let open = words::connections_stay(self.figures.connections(name));
        let open = open.map(|words| format!("; {words}")).unwrap_or_default();
        format!("redirects of {name} lead there{open}")
    }

    pub(super) fn policies(&self) -> Vec<Change> {
        let (before, after) = (&self.before.file, &self.after.file);
        let pairs = pairs(&before.policies, &after.policies);
        let changes = pairs.filter_map(|pair| {
            let name = pair.name;
            let change = self.named(Section::Policies, "policy", pair)?;
            let uses =
                |(_, spec): &(usize, &crate::route::Spec)| spec.policies.iter().any(|policy| policy == name);
            let routes = after.routes.iter().enumerate().filter(uses);
            let routes: Vec<String> = routes.map(|(place, _)| words::route(self.after, place)).collect();
            let effect = match routes.as_slice() {
                [] => "no route has it".to_owned(),
                routes => format!("counts for new requests of {}", routes.join(", ")),
            };
            Some(match change.kind {
                Kind::Removed => change,
                _ => change.effect(effect),
            })
        });
        changes.collect()
    }

    pub(super) fn whole_sections(&self) -> Vec<Change> {
        let (before, after) = (&self.before.file, &self.after.file);
        let sections = [
            self.whole(Section::Observability, &before.observability, &after.observability),
            self.whole(Section::Admin, &before.admin, &after.admin),
            self.whole(Section::Runtime, &before.runtime, &after.runtime),
        ];
        sections.into_iter().flatten().collect()
    }

    fn whole<T: serde::Serialize>(&self, section: Section, before: &T, after: &T) -> Option<Change> {
        let at = KeyPath::of(&[section.word()]);
        let keys = self.between(&self.part_before(at.clone(), before), &self.part_after(at.clone(), after));
        if keys.is_empty() {
            return None;
        }
        let late = super::needs_restart(&self.before.file, &self.after.file);
        let late: Vec<_> = late.into_iter().filter(|key| key.starts_with(section.word())).collect();
        let effect = (!late.is_empty()).then(|| format!("only after a restart: {}", late.join(", ")));
        let change = Change::new(Kind::Changed, section, section.word().to_owned(), at).effect(effect);
        let moves = |key: &KeyChange| key.name == "address" && section == Section::Admin;
        let is_moving = keys.iter().any(moves);
        let effect =
            is_moving.then(|| "commands find Lintel at the new address, with the new file".to_owned());
        Some(change.keys(keys).effect(effect))
    }

    /// For how long what a reload takes away may go on.
    pub(super) fn drain_timeout(&self) -> crate::units::Duration {
        self.before.file.runtime.drain_timeout
    }
}

/// Listeners that send everything to another one.
fn redirecting<'f>(file: &'f File, to: &str) -> impl Iterator<Item = &'f str> {
    let leads_there = move |spec: &listener::Spec| spec.redirect_to.as_deref() == Some(to);
    let redirecting = file.listeners.iter().filter(move |(_, spec)| leads_there(spec));
    redirecting.map(|(name, _)| name.as_str())
}
