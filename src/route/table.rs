//! All routes of a snapshot, and the most specific one for a request.
//!
//! Order: exact host, wildcard host (longest first), any host; in each: exact path, regular expressions (file order),
//! prefix (longest first), no path; in each: method, more headers, more query parameters, listener. The first route in
//! this order whose conditions all hold wins; where none holds at one step the search goes on with the next, also from
//! an exact host to wildcards. Cost follows the request's labels and segments, not the number of routes; only regular
//! expressions of one host, and routes that share host and path, are tried one by one. A find allocates nothing.

use std::borrow::Borrow;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::host::Host;
use super::matcher::{Conditions, HostRule, Matcher, PathRule, Pattern};
use super::path::NormalPath;
use super::spec::MatchSpec;
use crate::wire::head::Head;

/// Routes with a payload each.
#[derive(Debug)]
pub struct Table<T> {
    payloads: Vec<T>,
    exact: HashMap<Box<str>, HostRoutes, RandomState>,
    /// By the name below which hosts are taken.
    below: HashMap<Box<str>, HostRoutes, RandomState>,
    any: HostRoutes,
}

/// What routes are matched on.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    /// Absent where the request names none (HTTP/1.0): then only routes for any host take it.
    pub host: Option<&'a Host>,
    pub path: &'a NormalPath<'a>,
    /// For the method, header conditions and, in its target, query conditions.
    pub head: &'a Head,
    /// Name of the listener it came in by.
    pub listener: &'a str,
}

/// Why a request gets no route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FindError {
    /// 404.
    #[error("no route takes the request")]
    NoRoute,
    /// 400: servers read the path in ways that lead to different routes.
    #[error("the path can be read in two ways that take different routes")]
    AmbiguousPath,
}

/// Something wrong with a route, found while building the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableProblem {
    /// Place in the list of routes, from 0.
    pub route: usize,
    /// The key below the route, such as `match.path`.
    pub at: String,
    pub message: String,
    /// The other route, where two clash.
    pub other: Option<usize>,
}

/// Routes of one host.
#[derive(Debug, Default)]
struct HostRoutes {
    exact: HashMap<Box<str>, Candidates, RandomState>,
    /// Each expression once, at the place of its first route.
    regex: Vec<(Pattern, Candidates)>,
    /// A tree of segments; the first node is the root.
    prefixes: Vec<Node>,
    rest: Candidates,
}

/// The end of a prefix or of a part of one.
#[derive(Debug, Default)]
struct Node {
    parent: usize,
    children: HashMap<Box<str>, usize, RandomState>,
    candidates: Candidates,
}

/// Routes with the same host and path, most specific first.
type Candidates = Vec<Candidate>;

#[derive(Clone, Debug)]
struct Candidate {
    conditions: Arc<Conditions>,
    route: usize,
}

impl<T> Table<T> {
    /// Compiles every match; all problems are reported at once.
    pub fn build<S: Borrow<MatchSpec>>(
        routes: impl IntoIterator<Item = (S, T)>,
    ) -> Result<Self, Vec<TableProblem>> {
        let mut problems = Vec::new();
        let (payloads, exact, below) = Default::default();
        let mut table = Self { payloads, exact, below, any: HostRoutes::default() };
        for (route, (spec, payload)) in routes.into_iter().enumerate() {
            table.payloads.push(payload);
            match Matcher::compile(spec.borrow()) {
                Ok(matcher) => table.insert(route, matcher),
                Err(found) => problems.extend(found.into_iter().map(|problem| {
                    let (at, message) = (problem.at, problem.message);
                    TableProblem { route, at, message, other: None }
                })),
            }
        }
        let mut clashes = BTreeSet::new();
        let named = table.exact.values_mut().chain(table.below.values_mut());
        named.chain([&mut table.any]).for_each(|routes| routes.finish(&mut clashes));
        problems.extend(clashes.into_iter().map(|(route, other)| TableProblem {
            route,
            at: "match".to_owned(),
            message: "takes the same requests as another route and is not more specific".to_owned(),
            other: Some(other),
        }));
        problems.sort_by_key(|problem| problem.route);
        if problems.is_empty() { Ok(table) } else { Err(problems) }
    }

    fn insert(&mut self, route: usize, matcher: Matcher) {
        let candidate = Candidate { conditions: Arc::new(matcher.conditions), route };
        for host in matcher.hosts {
            let routes = match host {
                HostRule::Exact(name) => self.exact.entry(name).or_default(),
                HostRule::Below(name) => self.below.entry(name).or_default(),
                HostRule::Any => &mut self.any,
            };
            routes.candidates_at(&matcher.path).push(candidate.clone());
        }
    }

    /// The most specific route that takes the request, with its place in the list of routes.
    pub fn find(&self, query: &Query<'_>) -> Result<(usize, &T), FindError> {
        let mut readings = query.path.readings().map(|path| self.find_reading(query, path));
        let first = readings.next().flatten();
        if readings.any(|other| other != first) {
            return Err(FindError::AmbiguousPath);
        }
        let route = first.ok_or(FindError::NoRoute)?;
        self.payloads.get(route).map(|payload| (route, payload)).ok_or(FindError::NoRoute)
    }

    fn find_reading(&self, query: &Query<'_>, path: &str) -> Option<usize> {
        if self.exact.is_empty() && self.below.is_empty() {
            return self.any.find(query, path);
        }
        let name = query.host.map_or("", Host::name);
        let exact = self.exact.get(name).and_then(|routes| routes.find(query, path));
        exact.or_else(|| self.find_below(query, path, name)).or_else(|| self.any.find(query, path))
    }

    fn find_below(&self, query: &Query<'_>, path: &str, name: &str) -> Option<usize> {
        if self.below.is_empty() {
            return None;
        }
        let mut name = name;
        while let Some((_, parent)) = name.split_once('.') {
            if let Some(route) = self.below.get(parent).and_then(|routes| routes.find(query, path)) {
                return Some(route);
            }
            name = parent;
        }
        None
    }

    /// Every payload in the order of the routes.
    pub fn payloads(&self) -> &[T] {
        &self.payloads
    }
}

impl HostRoutes {
    fn candidates_at(&mut self, path: &PathRule) -> &mut Candidates {
        match path {
            PathRule::Exact(path) => self.exact.entry(path.clone()).or_default(),
            PathRule::Regex(pattern) => {
                let place = self.regex.iter().position(|(other, _)| other == pattern).unwrap_or_else(|| {
                    self.regex.push((pattern.clone(), Candidates::new()));
                    self.regex.len() - 1
                });
                &mut self.regex[place].1
            }
            PathRule::Prefix(prefix) => {
                let node = self.node_at(prefix);
                &mut self.prefixes[node].candidates
            }
            PathRule::Any => &mut self.rest,
        }
    }

    fn node_at(&mut self, prefix: &str) -> usize {
        if self.prefixes.is_empty() {
            self.prefixes.push(Node::default());
        }
        prefix.split('/').skip(1).fold(0, |parent, segment| {
            if let Some(&node) = self.prefixes[parent].children.get(segment) {
                return node;
            }
            let node = self.prefixes.len();
            self.prefixes.push(Node { parent, ..Node::default() });
            self.prefixes[parent].children.insert(segment.into(), node);
            node
        })
    }

    /// Orders the candidates and reports clashes as (later route, earlier route).
    fn finish(&mut self, clashes: &mut BTreeSet<(usize, usize)>) {
        let paths = self.exact.values_mut().chain(self.regex.iter_mut().map(|(_, candidates)| candidates));
        let prefixes = self.prefixes.iter_mut().map(|node| &mut node.candidates);
        for candidates in paths.chain(prefixes).chain([&mut self.rest]) {
            candidates
                .sort_by_key(|candidate| (std::cmp::Reverse(candidate.conditions.rank()), candidate.route));
            for (place, candidate) in candidates.iter().enumerate() {
                // Candidates that clash have the same rank, so they are neighbours.
                let rank = candidate.conditions.rank();
                let others =
                    candidates[place + 1..].iter().take_while(|other| other.conditions.rank() == rank);
                let clash = |other: &&Candidate| candidate.conditions.clashes_with(&other.conditions);
                clashes.extend(others.filter(clash).map(|other| (other.route, candidate.route)));
            }
        }
    }

    fn find(&self, query: &Query<'_>, path: &str) -> Option<usize> {
        let pick = |candidates: &Candidates| {
            candidates
                .iter()
                .find(|candidate| candidate.conditions.hold(query))
                .map(|candidate| candidate.route)
        };
        let exact = self.exact.get(path).and_then(pick);
        let regex = || {
            self.regex.iter().filter(|(pattern, _)| pattern.matches(path)).find_map(|(_, found)| pick(found))
        };
        let prefix = || self.nodes_up(path).find_map(|node| pick(&node.candidates));
        exact.or_else(regex).or_else(prefix).or_else(|| pick(&self.rest))
    }

    /// The nodes of all prefixes of the path, longest first.
    fn nodes_up(&self, path: &str) -> impl Iterator<Item = &Node> {
        let mut deepest = 0;
        let mut rest = path.strip_prefix('/');
        while let Some(left) = rest {
            // Paths are short: a search by words costs more to set up than it saves.
            let slash = left.bytes().position(|byte| byte == b'/');
            let segment = slash.and_then(|slash| left.get(..slash)).unwrap_or(left);
            match self.prefixes.get(deepest).and_then(|node| node.children.get(segment)) {
                Some(&child) => deepest = child,
                None => break,
            }
            rest = slash.and_then(|slash| left.get(slash + 1..));
        }
        let parent =
            |node: &usize| if *node == 0 { None } else { self.prefixes.get(*node).map(|node| node.parent) };
        std::iter::successors(Some(deepest), parent).filter_map(|node| self.prefixes.get(node))
    }
}

#[cfg(test)]
mod tests;
