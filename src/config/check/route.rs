//! Routes and the policies that they use.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::super::problem::quoted;
use super::{Checker, text};
use crate::filter;
use crate::filter::headers::EditSpec;
use crate::route::Spec;
use crate::route::spec::{MatchSpec, PathSpec, RegexSpec, ValueSpec};

/// Statuses of a redirect (RFC 9110 section 15.4).
const REDIRECTS: [u16; 5] = [301, 302, 303, 307, 308];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Request,
    Response,
}

pub fn check(checker: &mut Checker<'_>) {
    let file = checker.file;
    checker.names("policies", &file.policies);
    for (name, filters) in &file.policies {
        for (index, filter) in filters.iter().enumerate() {
            let key_path = format!("policies.{name}[{index}]");
            match filter {
                filter::Spec::Headers(spec) => {
                    edits(checker, &format!("{key_path}.headers.request"), &spec.request, Side::Request);
                    edits(checker, &format!("{key_path}.headers.response"), &spec.response, Side::Response);
                }
            }
        }
    }
    if file.routes.is_empty() && file.listeners.values().any(|listener| listener.redirect_to.is_none()) {
        checker.problem("routes", "there is no route, so every request would be answered 404", "write `routes: [{ to: ... }]`");
    }
    for (index, spec) in file.routes.iter().enumerate() {
        route(checker, &format!("routes[{index}]"), spec);
    }
    same_names(checker);
    same_matches(checker);
}

fn route(checker: &mut Checker<'_>, route: &str, spec: &Spec) {
    let file = checker.file;
    let at = |key: &str| format!("{route}.{key}");
    if let Some(name) = &spec.name {
        let help = "a name has up to 64 letters, digits, `-`, `_` and `.`, and begins with a letter, a digit or `_`";
        checker.text(&at("name"), name, (!text::is_name(name)).then_some(help));
    }
    for (index, policy) in spec.policies.iter().enumerate() {
        checker.is_named("policies", &file.policies, policy, &at(&format!("policies[{index}]")));
    }
    matches(checker, &at("match"), &spec.matches);
    action(checker, route, spec);
    for (index, protocol) in spec.upgrades.iter().enumerate() {
        // RFC 9110 section 7.8: a token, and after a slash its version.
        let fine = protocol.split('/').all(text::is_token) && protocol.split('/').count() <= 2;
        let help = "an upgrade is a name such as `h2c` or `TLS/1.0`";
        checker.text(&at(&format!("upgrades[{index}]")), protocol, (!fine).then_some(help));
    }
}

/// What is done with the request.
fn action(checker: &mut Checker<'_>, route: &str, spec: &Spec) {
    let at = |key: &str| format!("{route}.{key}");
    let written: Vec<_> = ["to", "redirect", "respond"].into_iter().filter(|key| checker.source.names(route, key)).collect();
    match written.as_slice() {
        [] => checker.problem(route, "this route does nothing", "write `to`, `redirect` or `respond`"),
        [_] => {}
        [first, second, ..] => {
            let message = format!("a route has `{first}` or `{second}`, not both");
            if !checker.source.is_in_doubt(&at(second)) {
                checker.key_problem(&at(second), message, "take one of them out");
            }
        }
    }
    for pool in spec.to.keys() {
        checker.is_named("pools", &checker.file.pools, pool, &at("to"));
    }
    if written.contains(&"to") && spec.to.values().all(|weight| *weight == 0) {
        checker.problem(&at("to"), "no pool gets any request", "give one of them a weight above 0");
    }
    for (pool, weight) in &spec.to {
        checker.range(&at(&format!("to.{pool}")), *weight, 0..=1_000_000);
    }
    if let Some(redirect) = &spec.redirect {
        checker.text(&at("redirect.to"), &redirect.to, text::redirect_target_error(&redirect.to));
        if !REDIRECTS.contains(&redirect.status) {
            let message = format!("`{}` is not the status of a redirect", redirect.status);
            checker.problem(&at("redirect.status"), message, "write 301, 302, 303, 307 or 308");
        }
    }
    if let Some(respond) = &spec.respond {
        checker.range(&at("respond.status"), respond.status, 200..=599);
        if matches!(respond.status, 204 | 304) && !respond.body.is_empty() {
            let message = format!("a response of status {} has no body", respond.status);
            checker.problem(&at("respond.body"), message, "take it out");
        }
        fields(checker, &at("respond.headers"), &respond.headers, Side::Response);
    }
    rewrite(checker, route, spec);
}

fn rewrite(checker: &mut Checker<'_>, route: &str, spec: &Spec) {
    let at = |key: &str| format!("{route}.rewrite.{key}");
    for (key, prefix) in [("strip_prefix", &spec.rewrite.strip_prefix), ("add_prefix", &spec.rewrite.add_prefix)] {
        if let Some(prefix) = prefix {
            checker.text(&at(key), prefix, text::plain_path_error(prefix));
        }
    }
    if let Some(host) = &spec.rewrite.host {
        checker.text(&at("host"), host, text::host_field_error(host));
    }
    if checker.source.names(route, "rewrite") && !checker.source.names(route, "to") {
        let help = "take it out; it changes what goes to a pool";
        checker.problem(&format!("{route}.rewrite"), "`rewrite` needs `to`", help);
    }
}

fn matches(checker: &mut Checker<'_>, key_path: &str, spec: &MatchSpec) {
    let at = |key: &str| format!("{key_path}.{key}");
    for (index, host) in spec.host.iter().enumerate() {
        checker.text(&at(&format!("host[{index}]")), host, text::host_pattern_error(host));
    }
    match &spec.path {
        Some(PathSpec::Text(path)) => checker.text(&at("path"), path, text::path_pattern_error(path)),
        Some(PathSpec::Regex(spec)) => regex(checker, &at("path"), spec),
        None => {}
    }
    for (index, method) in spec.method.iter().enumerate() {
        let fine = text::is_token(method) && !method.bytes().any(|b| b.is_ascii_lowercase());
        let help = "methods are written in capital letters, such as `GET`";
        checker.text(&at(&format!("method[{index}]")), method, (!fine).then_some(help));
    }
    for (section, values) in [("headers", &spec.headers), ("query", &spec.query)] {
        for (name, value) in values {
            let key_path = at(&format!("{section}.{name}"));
            if section == "headers" && !text::is_token(name) {
                checker.key_problem(&key_path, format!("{} is not the name of a header field", quoted(name)), "a name has letters, digits and `-`, and no spaces");
            }
            if let ValueSpec::Regex(spec) = value {
                regex(checker, &key_path, spec);
            }
        }
    }
    if let Some(listener) = &spec.listener
        && checker.is_named("listeners", &checker.file.listeners, listener, &at("listener"))
        && checker.file.listeners.get(listener).is_some_and(|listener| listener.redirect_to.is_some())
    {
        checker.problem(&at("listener"), "that listener redirects every request", "name one that serves");
    }
}

fn regex(checker: &mut Checker<'_>, key_path: &str, spec: &RegexSpec) {
    if let Some(error) = text::regex_error(&spec.regex) {
        let help = "the syntax is that of the Rust crate `regex`: https://docs.rs/regex/#syntax";
        checker.problem(&format!("{key_path}.regex"), format!("this is not a regular expression: {error}"), help);
    }
}

fn edits(checker: &mut Checker<'_>, key_path: &str, spec: &EditSpec, side: Side) {
    fields(checker, &format!("{key_path}.set"), &spec.set, side);
    fields(checker, &format!("{key_path}.add"), &spec.add, side);
    for (index, name) in spec.remove.iter().enumerate() {
        let key_path = format!("{key_path}.remove[{index}]");
        if let Some((message, help)) = field_name_error(name, side) {
            checker.problem(&key_path, message, help);
        }
    }
}

fn fields(checker: &mut Checker<'_>, key_path: &str, fields: &BTreeMap<String, String>, side: Side) {
    let mut seen = HashMap::new();
    for (name, value) in fields {
        let key_path = format!("{key_path}.{name}");
        if let Some((message, help)) = field_name_error(name, side) {
            checker.key_problem(&key_path, message, help);
        } else if let Some(help) = text::header_value_error(value) {
            checker.problem(&key_path, "this cannot be the value of a header field", help);
        }
        if let Some(first) = seen.insert(name.to_ascii_lowercase(), name) {
            let message = format!("{} is {} in other letters", quoted(name), quoted(first));
            checker.key_problem(&key_path, message, "header fields have the same name whatever the case; keep one");
        }
    }
}

fn field_name_error(name: &str, side: Side) -> Option<(String, &'static str)> {
    if !text::is_token(name) {
        let message = format!("{} is not the name of a header field", quoted(name));
        return Some((message, "a name has letters, digits and `-`, and no spaces"));
    }
    if !text::is_framing(name) {
        return None;
    }
    let help = match side {
        Side::Request if name.eq_ignore_ascii_case("host") => "write `rewrite: { host: ... }` in the route",
        _ => "take it out",
    };
    Some((format!("Lintel writes the header field {} itself", quoted(name)), help))
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

/// Two routes that a request can match equally well. Hosts and methods are alternatives, so each is compared.
fn same_matches(checker: &mut Checker<'_>) {
    let mut seen: HashMap<String, usize> = HashMap::new();
    for (index, spec) in checker.file.routes.iter().enumerate() {
        let mut clashes = HashSet::new();
        for form in normal_forms(&spec.matches) {
            let first = *seen.entry(form).or_insert(index);
            if first == index || !clashes.insert(first) {
                continue;
            }
            let key_path = |index: usize| {
                let written = checker.source.names(&format!("routes[{index}]"), "match");
                if written { format!("routes[{index}].match") } else { format!("routes[{index}]") }
            };
            let (this, other) = (key_path(index), key_path(first));
            let message = "this route and another one match the same requests equally well";
            checker.clash(&this, message, "make one of them more specific", &other, "is the other one");
        }
    }
}

/// A match as texts that are equal when the matches are: one for each host and method.
fn normal_forms(spec: &MatchSpec) -> Vec<String> {
    let each = |values: Vec<String>| if values.is_empty() { vec![String::new()] } else { values };
    let hosts = each(spec.host.iter().map(|host| host.to_ascii_lowercase()).collect());
    let methods = each(spec.method.clone());
    let headers: BTreeMap<_, _> = spec.headers.iter().map(|(name, v)| (name.to_ascii_lowercase(), v)).collect();
    let rest = format!("{:?} {headers:?} {:?} {:?}", spec.path, spec.query, spec.listener);
    let both = hosts.iter().flat_map(|host| methods.iter().map(move |method| (host, method)));
    both.map(|(host, method)| format!("{host:?} {method:?} {rest}")).collect()
}
