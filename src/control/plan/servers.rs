//! The servers of a pool by their addresses: those of its list, with what was ordered since, as far as a reload keeps it.

use std::collections::{BTreeMap, HashMap};

use super::keys::KeyChange;
use super::parts::{Pair, pairs};
use super::{Change, Kind, Section, Sides, words};
use crate::config::{KeyPath, Loaded};
use crate::net::Address;
use crate::pool::{Overrides, Spec};
use crate::server;

/// Compared on their own: orders change them too.
const APART: [&str; 2] = ["address", "weight"];

/// A server as it is or is to be.
struct Placed {
    /// In the list of the file; `None` for one that was added by order.
    place: Option<usize>,
    spec: server::Spec,
    /// What was ordered instead of its own.
    weight: Option<u32>,
}

/// By address.
type Servers = BTreeMap<String, Placed>;

impl Sides<'_> {
    /// In the order of the new list, then those that go.
    pub(super) fn servers(&self, &Pair { name, before, after }: &Pair<'_, Spec>) -> Vec<Change> {
        let orders = self.figures.orders(name);
        let kept = if before.is_some() { orders.kept() } else { Overrides::default() };
        let (was, is) = (by_address(before, &orders), by_address(after, &kept));
        let changes = pairs(&was, &is).filter_map(|pair| {
            let placed = pair.after.or(pair.before)?;
            let order = (pair.after.is_none(), placed.place.is_none(), placed.place);
            Some((order, self.server(name, &pair)?))
        });
        let mut changes: Vec<_> = changes.collect();
        changes.sort_by_key(|(order, _)| *order);
        let mut changes: Vec<Change> = changes.into_iter().map(|(_, change)| change).collect();
        if let (Some(_), Some(after)) = (before, after) {
            self.forget(name, after, [&orders, &kept], &is, &mut changes);
        }
        changes
    }

    fn server(&self, pool: &str, pair: &Pair<'_, Placed>) -> Option<Change> {
        let name = self.address(pool, pair);
        let placed = pair.after.or(pair.before)?;
        let what = format!("server {name} of {pool}");
        let new = |kind| Change::new(kind, Section::Servers, what.clone(), at(pool, placed));
        let going = |placed: &Placed| {
            let in_flight = self.figures.in_flight(pool, Some(&placed.spec.address));
            words::in_flight_goes(in_flight, self.drain_timeout())
        };
        Some(match (pair.before, pair.after) {
            (None, Some(is)) => {
                let returns =
                    is_written(self.before, pool, is).then(|| "it was taken out by order".to_owned());
                new(Kind::Added)
                    .keys(self.part_after(at(pool, is), &is.spec).without(&["address"]).as_new())
                    .effect(returns)
            }
            (Some(was), None) => {
                let added = was.place.is_none().then(|| "it was added by order".to_owned());
                let keys = match was.place {
                    Some(_) => self.part_before(at(pool, was), &was.spec).without(&["address"]).as_old(),
                    None => Vec::new(),
                };
                new(Kind::Removed).keys(keys).effect(added).effect(going(was))
            }
            (Some(was), Some(is)) => {
                let keys = self.keys(pool, was, is);
                if keys.is_empty() {
                    return None;
                }
                let anew = || format!("it counts as a new server; {}", going(was));
                new(Kind::Changed).keys(keys).effect((was.spec.backup != is.spec.backup).then(anew))
            }
            (None, None) => return None,
        })
    }

    fn keys(&self, pool: &str, was: &Placed, is: &Placed) -> Vec<KeyChange> {
        let (before, after) = (at(pool, was), at(pool, is));
        let old = self.part_before(before.clone(), &was.spec).without(&APART);
        let mut keys = self.between(&old, &self.part_after(after.clone(), &is.spec).without(&APART));
        let weight = |placed: &Placed| placed.weight.unwrap_or(placed.spec.weight);
        if weight(was) != weight(is) {
            let old = weight_text(self.before, &before, was);
            let new = weight_text(self.after, &after, is);
            keys.push(weight_change(after.key("weight"), old, new));
        }
        keys
    }

    /// The address as it may be shown.
    fn address(&self, pool: &str, pair: &Pair<'_, Placed>) -> String {
        match (pair.before, pair.after) {
            (_, Some(is)) => self.shown(self.after, pool, is, pair.name),
            (Some(was), None) => self.shown(self.before, pool, was, pair.name),
            (None, None) => String::new(),
        }
    }

    fn shown(&self, loaded: &Loaded, pool: &str, placed: &Placed, address: &str) -> String {
        match placed.place {
            Some(_) => loaded.meant(&at(pool, placed).key("address"), &address.into()),
            None => address.to_owned(),
        }
    }

    /// Orders that are not kept: drained servers, and weights of the addresses of a host name or of workers.
    fn forget(
        &self,
        pool: &str,
        after: &Spec,
        [orders, kept]: [&Overrides; 2],
        is: &Servers,
        changes: &mut Vec<Change>,
    ) {
        for server in self.figures.pools.get(pool).into_iter().flat_map(|pool| &pool.servers) {
            let (address, identity) = (server.address.to_string(), server.identity.as_str());
            let placed = is.get(&address);
            if placed.is_none() && after.app.is_none() && after.workers_of.is_none() {
                continue;
            }
            let place = placed.map_or_else(|| KeyPath::of(&["pools", pool]), |placed| at(pool, placed));
            let mut keys = Vec::new();
            if let (Some(weight), None) = (orders.weight(identity), kept.weight(identity))
                && identity != address
            {
                let new = placed.map_or(1, |placed| placed.spec.weight);
                keys.push(weight_change(place.key("weight"), ordered(weight), new.to_string()));
            }
            let is_drained = orders.is_drained(identity) && !kept.is_drained(identity);
            if keys.is_empty() && !is_drained {
                continue;
            }
            let effect = is_drained.then(|| "it was drained by order and gets work again".to_owned());
            // An address may not be for everybody's eyes; what follows it is that of a host name.
            let shown = placed.map(|placed| self.shown(self.after, pool, placed, &address));
            let name = match (shown, identity.strip_prefix(&*address)) {
                (Some(shown), Some(rest)) => shown + rest,
                _ => identity.to_owned(),
            };
            let what = format!("server {name} of {pool}");
            match changes.iter_mut().find(|change| change.what == what) {
                Some(change) => change.effects.extend(effect),
                None => changes.push(
                    Change::new(Kind::Changed, Section::Servers, what, place).keys(keys).effect(effect),
                ),
            }
        }
    }
}

/// The servers of a pool; of an address written twice the first counts.
fn by_address(pool: Option<&Spec>, orders: &Overrides) -> Servers {
    let mut servers = Servers::new();
    let Some(pool) = pool else { return servers };
    let mut places: HashMap<&Address, (usize, &server::Spec)> = HashMap::new();
    for (place, spec) in pool.servers.iter().enumerate() {
        places.entry(&spec.address).or_insert((place, spec));
    }
    for spec in orders.apply(&pool.servers) {
        let address = spec.address.to_string();
        let written = places.get(&spec.address).filter(|(_, written)| **written == spec);
        let place = written.map(|(place, _)| *place);
        let weight = orders.weight(&address);
        servers.entry(address).or_insert(Placed { place, spec, weight });
    }
    servers
}

fn at(pool: &str, placed: &Placed) -> KeyPath {
    let list = KeyPath::of(&["pools", pool, "servers"]);
    placed.place.map_or_else(|| list.clone(), |place| list.place(place))
}

/// Whether a file has it in the list of a pool.
fn is_written(loaded: &Loaded, pool: &str, placed: &Placed) -> bool {
    let pool = loaded.file.pools.get(pool);
    pool.is_some_and(|pool| pool.servers.iter().any(|spec| spec.address == placed.spec.address))
}

fn weight_text(loaded: &Loaded, at: &KeyPath, placed: &Placed) -> String {
    let weight = placed.spec.weight;
    match (placed.weight, placed.place) {
        (Some(weight), _) => ordered(weight),
        (None, Some(_)) => loaded.text_of(&at.key("weight"), &weight.into()),
        (None, None) => weight.to_string(),
    }
}

fn ordered(weight: u32) -> String {
    format!("{weight} (by order)")
}

fn weight_change(at: KeyPath, old: String, new: String) -> KeyChange {
    KeyChange { at, name: "weight".to_owned(), old: Some(old), new: Some(new) }
}
