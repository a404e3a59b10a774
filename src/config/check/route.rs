//! Routes and the policies that they use.
//!
//! What one route, rewrite or filter can tell of itself is told by compiling it, so that no rule is written twice.

use std::collections::{HashMap, HashSet};

use super::super::problem::quoted;
use super::{Checker, text};
use crate::filter::Filters;
use crate::route::{Redirect, Rewrite, Spec, Split, Table, respond};
use crate::wire::token::is_token;

pub fn check(checker: &mut Checker<'_>) {
    let file = checker.file;
    checker.names("policies", &file.policies);
    let used: HashSet<_> = file.routes.iter().flat_map(|route| &route.policies).collect();
    let is_known = !checker.source.is_in_doubt("routes");
    for (name, filters) in &file.policies {
        for problem in Filters::compile(filters).err().into_iter().flatten() {
            checker.tell(&format!("policies.{name}{}", problem.at), &problem.message);
        }
        if is_known && !used.contains(name) {
            let help = "name it in the `policies` of a route";
            checker.warning(&format!("policies.{name}"), "no route uses this policy", help);
        }
    }
    if file.routes.is_empty() && file.listeners.values().any(|listener| listener.redirect_to.is_none()) {
        let help = "write one: `routes: [{ to: ... }]`";
        checker.problem("routes", "there is no route, so every request would be answered 404", help);
    }
    for (index, spec) in file.routes.iter().enumerate() {
        route(checker, &format!("routes[{index}]"), spec);
    }
    same_names(checker);
    matches(checker);
}

fn route(checker: &mut Checker<'_>, route: &str, spec: &Spec) {
    let file = checker.file;
    let at = |key: &str| format!("{route}.{key}");
    if let Some(name) = &spec.name {
        checker.text(&at("name"), name, (!text::is_name(name)).then_some(text::NAME));
    }
    for (index, policy) in spec.policies.iter().enumerate() {
        checker.is_named("policies", &file.policies, policy, &at(&format!("policies[{index}]")));
    }
    if let Some(listener) = &spec.matches.listener
        && checker.is_named("listeners", &file.listeners, listener, &at("match.listener"))
        && file.listeners.get(listener).is_some_and(|listener| listener.redirect_to.is_some())
    {
        checker.problem(
            &at("match.listener"),
            "that listener redirects every request",
            "name one that serves",
        );
    }
    action(checker, route, spec);
    for (index, protocol) in spec.upgrades.iter().enumerate() {
        // RFC 9110 section 7.8: a token, and after a slash its version.
        let fine =
            protocol.split('/').all(|part| is_token(part.as_bytes())) && protocol.split('/').count() <= 2;
        let help = "an upgrade is a name such as `h2c` or `TLS/1.0`";
        checker.text(&at(&format!("upgrades[{index}]")), protocol, (!fine).then_some(help));
    }
}

/// What is done with the request.
fn action(checker: &mut Checker<'_>, route: &str, spec: &Spec) {
    let at = |key: &str| format!("{route}.{key}");
    let is_written = |key: &str| checker.source.names(route, key);
    let written: Vec<_> = ["to", "redirect", "respond"].into_iter().filter(|key| is_written(key)).collect();
    let forwards = written.contains(&"to");
    let rewrites_nothing = is_written("rewrite") && !forwards;
    match written.as_slice() {
        [] => checker.problem(route, "this route does nothing", "write `to`, `redirect` or `respond`"),
        [_] => {}
        [first, second, ..] => {
            let message = format!("a route has `{first}` or `{second}`, not both");
            checker.key_problem(&at(second), message, "take one of them out");
        }
    }
    for (pool, weight) in &spec.to {
        checker.is_named("pools", &checker.file.pools, pool, &at("to"));
        checker.range(&at(&format!("to.{pool}")), *weight, 0..=1_000_000);
    }
    if forwards && let Err(error) = Split::compile(spec.to.values().copied()) {
        checker.problem(&at("to"), error.to_string(), "name a pool, with a weight above 0");
    }
    let redirect = spec
        .redirect
        .iter()
        .filter_map(|redirect| Redirect::compile(redirect, spec.matches.path.as_ref()).err());
    let respond = spec.respond.iter().filter_map(|respond| respond::compile(respond).err());
    let rewrite = Rewrite::compile(&spec.rewrite).err();
    for problem in redirect.chain(respond).chain(rewrite).flatten() {
        checker.tell(&at(&problem.at), &problem.message);
    }
    if rewrites_nothing {
        checker.problem(
            &at("rewrite"),
            "`rewrite` needs `to`",
            "take it out; it changes what goes to a pool",
        );
    }
}

fn same_names(checker: &mut Checker<'_>) {
    let mut seen = HashMap::new();
    for (index, spec) in checker.file.routes.iter().enumerate() {
        let written = spec.name.is_some();
        let name = spec.name.clone().unwrap_or_else(|| format!("route-{}", index + 1));
        let route = format!("routes[{index}]");
        let key_path = if written { format!("{route}.name") } else { route };
        match seen.get(&name) {
            None => {
                seen.insert(name, key_path);
            }
            Some(first) => {
                let message = format!("two routes have the name {}", quoted(&name));
                checker.clash(&key_path, message, "choose another name", first, "has it");
            }
        }
    }
}

/// Every match by itself, and those that take the same requests.
fn matches(checker: &mut Checker<'_>) {
    let all = checker.file.routes.iter().map(|route| (&route.matches, ()));
    for problem in Table::build(all).err().into_iter().flatten() {
        let Some(other) = problem.other else {
            checker.tell(&format!("routes[{}].{}", problem.route, problem.at), &problem.message);
            continue;
        };
        let key_path = |index: usize| {
            let route = format!("routes[{index}]");
            if checker.source.names(&route, "match") { format!("{route}.match") } else { route }
        };
        let message = format!("this route {}", problem.message);
        let help = "make one of them more specific";
        checker.clash(&key_path(problem.route), message, help, &key_path(other), "is the other one");
    }
}
