//! Routes, told apart by their names, and those without one by what they match.

use std::collections::BTreeMap;

use super::keys::KeyChange;
use super::parts::{Pair, pairs};
use super::{Change, Kind, Section, Sides, words};
use crate::config::{File, KeyPath};
use crate::route::Spec;
use crate::route::spec::PathSpec;

/// A route and its place in the list.
type Placed<'a> = (usize, &'a Spec);

impl Sides<'_> {
    pub(super) fn routes(&self) -> Vec<Change> {
        let (was, is) = (by_identity(&self.before.file), by_identity(&self.after.file));
        let mut changes: Vec<(usize, Change)> =
            pairs(&was, &is).filter_map(|pair| self.route(&pair)).collect();
        changes.sort_by_key(|(place, _)| *place);
        let mut changes: Vec<Change> = changes.into_iter().map(|(_, change)| change).collect();
        changes.extend(self.order(&was, &is));
        changes.extend(names(&was, &is));
        changes
    }

    fn route(&self, &Pair { before, after, .. }: &Pair<'_, Placed<'_>>) -> Option<(usize, Change)> {
        let at = |place: usize| KeyPath::of(&["routes"]).place(place);
        let (loaded, (place, _)) =
            after.map(|is| (self.after, is)).or(before.map(|was| (self.before, was)))?;
        let name = words::route(loaded, *place);
        let new = |kind| Change::new(kind, Section::Routes, format!("route {name}"), at(*place));
        let old_part = before.map(|(place, spec)| self.part_before(at(*place), spec).without(&["name"]));
        let new_part = after.map(|(place, spec)| self.part_after(at(*place), spec).without(&["name"]));
        let change = match (old_part, new_part) {
            (None, Some(part)) => new(Kind::Added).keys(part.as_new()),
            (Some(part), None) => {
                let effect = format!(
                    "what runs on it may go on for {}; then WebSockets say goodbye and the rest is cut",
                    self.drain_timeout()
                );
                new(Kind::Removed).keys(part.as_old()).effect(effect)
            }
            (Some(was), Some(is)) => {
                let keys = self.between(&was, &is);
                if keys.is_empty() {
                    return None;
                }
                new(Kind::Changed).keys(keys)
            }
            (None, None) => return None,
        };
        Some((*place, change))
    }

    /// The order of expressions decides where two of them fit.
    fn order(&self, was: &BTreeMap<String, Placed<'_>>, is: &BTreeMap<String, Placed<'_>>) -> Option<Change> {
        let is_expression = |spec: &Spec| matches!(spec.matches.path, Some(PathSpec::Regex(_)));
        let is_in = |side: &BTreeMap<String, Placed<'_>>, identity: &str| {
            side.get(identity).is_some_and(|(_, spec)| is_expression(spec))
        };
        let in_order = |side: &BTreeMap<String, Placed<'_>>| {
            let both = side.iter().filter(|(identity, _)| is_in(was, identity) && is_in(is, identity));
            let mut routes: Vec<(usize, String)> =
                both.map(|(identity, (place, _))| (*place, identity.clone())).collect();
            routes.sort();
            routes
        };
        let (old, new) = (in_order(was), in_order(is));
        let is_same = old.iter().map(|(_, identity)| identity).eq(new.iter().map(|(_, identity)| identity));
        (!is_same).then(|| {
            let names = |loaded, routes: &[(usize, String)]| -> Vec<String> {
                routes.iter().map(|(place, _)| words::route(loaded, *place)).collect()
            };
            let (old, new) = (names(self.before, &old), names(self.after, &new));
            let effect = "of expressions that fit the first one counts".to_owned();
            whole_list("order of routes with an expression", &old, &new).effect(effect)
        })
    }
}

/// A name, or what is matched as JSON, which no name is: that begins with a brace.
fn by_identity(file: &File) -> BTreeMap<String, Placed<'_>> {
    let identity = |spec: &Spec| {
        let matches = || serde_json::to_string(&spec.matches).unwrap_or_default();
        spec.name.clone().unwrap_or_else(matches)
    };
    file.routes.iter().enumerate().map(|(place, spec)| (identity(spec), (place, spec))).collect()
}

/// A route without a name is called by its place in logs and metrics.
fn names(was: &BTreeMap<String, Placed<'_>>, is: &BTreeMap<String, Placed<'_>>) -> Option<Change> {
    let moved = pairs(was, is).filter_map(|pair| {
        let ((old, spec), (new, _)) = (pair.before?, pair.after?);
        (spec.name.is_none() && old != new)
            .then(|| (format!("route-{}", old + 1), format!("route-{}", new + 1)))
    });
    let (old, new): (Vec<_>, Vec<_>) = moved.unzip();
    (!old.is_empty()).then(|| {
        let effect = "logs and metrics call them by their place".to_owned();
        whole_list("names of routes that have none", &old, &new).effect(effect)
    })
}

fn whole_list(what: &str, old: &[String], new: &[String]) -> Change {
    let at = KeyPath::of(&["routes"]);
    let text = |names: &[String]| Some(format!("[{}]", names.join(", ")));
    let key = KeyChange { at: at.clone(), name: String::new(), old: text(old), new: text(new) };
    Change::new(Kind::Changed, Section::Routes, what.to_owned(), at).keys(vec![key])
}
