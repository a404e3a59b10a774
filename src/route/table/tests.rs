//! Routes found for hosts, paths and conditions, and tables that cannot be built.

use super::*;
use crate::route::spec::{PathSpec, RegexSpec, ValueSpec};
use proptest::prelude::*;

fn path_spec(text: &str) -> PathSpec {
    match text.strip_prefix('~') {
        Some(regex) => PathSpec::Regex(RegexSpec { regex: regex.to_owned() }),
        None => PathSpec::Text(text.to_owned()),
    }
}

/// `HOST PATH`, `-` for none, `~` before a regular expression.
fn spec(text: &str) -> MatchSpec {
    let (host, path) = text.split_once(' ').unwrap();
    MatchSpec {
        host: host.split(',').filter(|host| *host != "-").map(str::to_owned).collect(),
        path: (path != "-").then(|| path_spec(path)),
        ..Default::default()
    }
}

fn table(specs: &[MatchSpec]) -> Table<usize> {
    Table::build(specs.iter().enumerate().map(|(place, spec)| (spec, place))).unwrap()
}

fn head(method: &str, target: &str, fields: &[(String, String)]) -> Head {
    let mut head = Head::new();
    head.set_method(method.as_bytes());
    head.set_target(target.as_bytes());
    fields.iter().for_each(|(name, value)| head.add(name, value.as_bytes()));
    head
}

fn find(table: &Table<usize>, host: &str, target: &str) -> Result<usize, FindError> {
    find_head(table, host, &head("GET", target, &[]))
}

fn find_head(table: &Table<usize>, host: &str, head: &Head) -> Result<usize, FindError> {
    let host = Host::of(host.as_bytes()).ok();
    let (path, _) = super::super::split_target(head.target());
    let path = NormalPath::of(path).unwrap();
    let query = Query { host: host.as_ref(), path: &path, head, listener: "web" };
    table.find(&query).map(|(route, payload)| {
        assert_eq!(route, *payload);
        route
    })
}

#[test]
fn the_most_specific_host_wins_and_falls_on_when_nothing_in_it_holds() {
    let table = table(&[
        spec("- -"),
        spec("*.example.com -"),
        spec("*.eu.example.com /only/*"),
        spec("app.example.com /api/*"),
    ]);
    for (host, target, route) in [
        ("app.example.com", "/api/x", 3),
        ("APP.example.com.:443", "/api/x", 3),
        ("app.example.com", "/x", 1),
        ("a.eu.example.com", "/only", 2),
        ("a.eu.example.com", "/x", 1),
        ("a.b.example.com", "/x", 1),
        ("example.com", "/x", 0),
        ("badexample.com", "/x", 0),
        ("", "/x", 0),
    ] {
        assert_eq!(find(&table, host, target), Ok(route), "{host} {target}");
    }
}

#[test]
fn the_most_specific_path_wins() {
    let table = table(&[
        spec("- -"),
        spec("- /*"),
        spec("- /api/*"),
        spec("- /api/v1/*"),
        spec("- ~/api/v[0-9]+/x"),
        spec("- ~/api/.*/x"),
        spec("- /api/v1/x"),
        spec("- /caf%C3%A9"),
    ]);
    for (target, route) in [
        ("/", 1),
        ("/apix", 1),
        ("/api", 2),
        ("/api/", 2),
        ("/api/v1?x", 3),
        ("/api/v1/y", 3),
        ("/api/v2/x", 4),
        ("/api/vx/x", 5),
        ("/api/v1/x", 6),
        ("/api/v1/x/", 3),
        ("/API/v1", 1),
        ("/caf%c3%a9", 7),
    ] {
        assert_eq!(find(&table, "a", target), Ok(route), "{target}");
    }
}

#[test]
fn a_path_that_leads_to_two_routes_is_refused() {
    let table = table(&[spec("- /admin/*"), spec("- -"), spec("app /admin/open/*")]);
    for target in ["/x/../admin", "/%61dmin", "/admin%2Fx", "//admin", "//x/admin", "/admin/../x"] {
        assert_eq!(find(&table, "a", target), Err(FindError::AmbiguousPath), "{target}");
    }
    assert_eq!(find(&table, "app", "/admin/%6fpen"), Err(FindError::AmbiguousPath));
    for (target, route) in
        [("/admin/%61", 0), ("/admin//x", 0), ("/admin/a/../b", 0), ("/x%2Fy", 1), ("//x", 1)]
    {
        assert_eq!(find(&table, "a", target), Ok(route), "{target}");
    }
}

#[test]
fn method_headers_query_and_listener_decide_among_equal_paths() {
    let value = |text: &str| ValueSpec::Exact(text.to_owned());
    let any = MatchSpec::default();
    let method = MatchSpec { method: vec!["GET".into(), "HEAD".into()], ..any.clone() };
    let one = MatchSpec { headers: [("X-A".to_owned(), value("1"))].into(), ..any.clone() };
    let two = MatchSpec {
        headers: [("x-a", "1"), ("x-b", "1")].map(|(n, v)| (n.into(), value(v))).into(),
        ..any.clone()
    };
    let query = MatchSpec { query: [("q".to_owned(), value("a b"))].into(), ..any.clone() };
    let listener = MatchSpec { listener: Some("web".into()), ..any.clone() };
    let elsewhere = MatchSpec { listener: Some("other".into()), method: vec!["PUT".into()], ..any.clone() };
    let table = table(&[any, listener, query, one, two, method, elsewhere]);
    let fields = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
        pairs.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect()
    };
    let find = |method: &str, target: &str, pairs: &[(&str, &str)]| {
        find_head(&table, "a", &head(method, target, &fields(pairs))).unwrap()
    };
    assert_eq!(find("GET", "/?q=a+b", &[("x-a", "1"), ("x-b", "1")]), 5);
    assert_eq!(find("POST", "/?q=a+b", &[("x-a", "0"), ("X-A", "1"), ("x-b", "1")]), 4);
    assert_eq!(find("POST", "/?q=a+b", &[("x-a", "1"), ("x-b", "2")]), 3);
    assert_eq!(find("POST", "/?q=1&q=a%20b", &[]), 2);
    assert_eq!(find("get", "/?q=ab", &[]), 1);
    assert_eq!(find("PUT", "/", &[]), 1);
}

#[test]
fn routes_with_an_equal_match_are_a_problem() {
    let method = |methods: &[&str]| MatchSpec {
        method: methods.iter().map(|m| m.to_string()).collect(),
        ..spec("- /m")
    };
    let specs = [
        spec("a.example,b.example /x"),
        spec("c.example,B.example. /x"),
        spec("- /x"),
        spec("- -"),
        spec("- /*"),
        spec("- -"),
        method(&["GET", "PUT"]),
        method(&["PUT", "POST"]),
        method(&[]),
        spec("- ~/r"),
        spec("- ~/r"),
    ];
    let problems = Table::build(specs.iter().map(|spec| (spec, ()))).unwrap_err();
    let found: Vec<_> = problems.iter().map(|problem| (problem.route, problem.other)).collect();
    assert_eq!(found, [(1, Some(0)), (5, Some(3)), (7, Some(6)), (10, Some(9))]);
}

#[test]
fn every_wrong_match_is_reported_with_its_key() {
    for (wrong, at) in [
        (spec("a..b -"), "match.host[0]"),
        (spec("a:80 -"), "match.host[0]"),
        (spec("* -"), "match.host[0]"),
        (spec("a.*.b -"), "match.host[0]"),
        (spec("*.[::1] -"), "match.host[0]"),
        (spec("caf\u{e9}.fr -"), "match.host[0]"),
        (spec("- api"), "match.path"),
        (spec("- /api*"), "match.path"),
        (spec("- /a/*/b"), "match.path"),
        (spec("- /a/../b"), "match.path"),
        (spec("- /a//b"), "match.path"),
        (spec("- /a//*"), "match.path"),
        (spec("- /a%2Fb"), "match.path"),
        (spec("- /%61"), "match.path"),
        (spec("- /a?b"), "match.path"),
        (spec("- /a b"), "match.path"),
        (spec("- ~a("), "match.path"),
        (spec("- ~a)|(b"), "match.path"),
        (spec("- ~(a{1000}){1000}"), "match.path"),
        (MatchSpec { method: vec!["get".into()], ..Default::default() }, "match.method[0]"),
        (MatchSpec { method: vec!["".into()], ..Default::default() }, "match.method[0]"),
        (
            MatchSpec {
                headers: [("host".into(), ValueSpec::Exact("a".into()))].into(),
                ..Default::default()
            },
            "match.headers.host",
        ),
        (
            MatchSpec {
                headers: [("a b".into(), ValueSpec::Exact("a".into()))].into(),
                ..Default::default()
            },
            "match.headers.a b",
        ),
        (
            MatchSpec {
                query: [("q".into(), ValueSpec::Regex(RegexSpec { regex: "[".into() }))].into(),
                ..Default::default()
            },
            "match.query.q",
        ),
    ] {
        let problems = Table::build([(MatchSpec::default(), ()), (wrong, ())]).unwrap_err();
        assert_eq!((problems[0].route, problems[0].at.as_str(), problems.len()), (1, at, 1), "{problems:?}");
        assert!(!problems[0].message.contains('\n'), "{problems:?}");
    }
    assert!(Table::build([(spec("- /a%2Ab"), ()), (spec("[::1],10.0.0.1 /"), ())]).is_ok());
}

#[test]
fn a_regular_expression_takes_whole_paths_of_any_bytes() {
    let table = table(&[spec("- ~/admin/.+|/x"), spec("- -")]);
    for (target, route) in
        [("/admin/%ff", 0), ("/admin/%E2%80%A8", 0), ("/x", 0), ("/xy", 1), ("/y/admin/x", 1)]
    {
        assert_eq!(find(&table, "a", target), Ok(route), "{target}");
    }
}

/// A matcher that tries again and again would not come to an end here within a lifetime.
#[test]
fn no_regular_expression_makes_a_long_path_hang_and_a_huge_one_is_a_problem() {
    let table = table(&[spec("- ~/(a+)+b"), spec("- ~/(a|aa)*c"), spec("- ~/(.*)*,(.*)*d"), spec("- -")]);
    assert_eq!(find(&table, "a", &format!("/{}", "a".repeat(8000))), Ok(3));
    assert_eq!(find(&table, "a", &format!("/{}b", "a".repeat(8000))), Ok(0));
    let huge = spec("- ~/((a{1000}){1000}){1000}");
    assert!(Table::build([(&huge, 0)].into_iter()).is_err());
}

type Fields = Vec<(String, String)>;

/// One route after the other, every condition anew, the highest rank wins.
fn slow_find(
    specs: &[MatchSpec],
    host: &str,
    path: &str,
    method: &str,
    query: &Fields,
    fields: &Fields,
) -> Option<usize> {
    let regex =
        |text: &str, whole: &str| regex::Regex::new(&format!("^(?:{text})$")).unwrap().is_match(whole);
    let holds = |spec: &ValueSpec, value: &str| match spec {
        ValueSpec::Exact(text) => text == value,
        ValueSpec::Regex(spec) => regex(&spec.regex, value),
    };
    let has = |pairs: &Fields, name: &str, spec: &ValueSpec| {
        pairs.iter().any(|(n, value)| n.eq_ignore_ascii_case(name) && holds(spec, value))
    };
    // File order counts among the routes of one host rule; an expression stands where the first of them has it.
    let first_regex = |text: &str, rule: Option<&String>| {
        let same = |spec: &MatchSpec| {
            spec.path == Some(PathSpec::Regex(RegexSpec { regex: text.to_owned() }))
                && rule.map_or(spec.host.is_empty(), |rule| spec.host.contains(rule))
        };
        specs.iter().position(same).unwrap()
    };
    let mut best = None;
    for (place, spec) in specs.iter().enumerate() {
        let hosts = spec.host.iter().filter_map(|rule| match rule.strip_prefix('*') {
            Some(below) => host.ends_with(below).then_some(((1, rule.len()), Some(rule))),
            None => (rule == host).then_some(((2, 0), Some(rule))),
        });
        let host_rule = if spec.host.is_empty() { Some(((0, 0), None)) } else { hosts.max() };
        let Some((host_rank, rule)) = host_rule else { continue };
        let path_rank = match &spec.path {
            None => Some((0, 0)),
            // Earlier expressions rank higher.
            Some(PathSpec::Regex(spec)) => {
                regex(&spec.regex, path).then(|| (2, specs.len() - first_regex(&spec.regex, rule)))
            }
            Some(PathSpec::Text(text)) => match text.strip_suffix("/*") {
                Some(prefix) => {
                    (path == prefix || path.starts_with(&format!("{prefix}/"))).then_some((1, prefix.len()))
                }
                None => (path == text).then_some((3, 0)),
            },
        };
        let Some(path_rank) = path_rank else { continue };
        if !(spec.method.is_empty() || spec.method.iter().any(|m| m == method))
            || !spec.headers.iter().all(|(name, value)| has(fields, name, value))
            || !spec.query.iter().all(|(name, value)| has(query, name, value))
            || spec.listener.as_deref().is_some_and(|listener| listener != "web")
        {
            continue;
        }
        let conditions =
            (!spec.method.is_empty(), spec.headers.len(), spec.query.len(), spec.listener.is_some());
        let rank = (host_rank, path_rank, conditions, std::cmp::Reverse(place));
        if best.as_ref().is_none_or(|(other, _)| rank > *other) {
            best = Some((rank, place));
        }
    }
    best.map(|(_, place)| place)
}

fn value_spec() -> impl Strategy<Value = ValueSpec> {
    prop_oneof![
        prop::sample::select(vec!["1", "2"]).prop_map(|text| ValueSpec::Exact(text.to_owned())),
        Just(ValueSpec::Regex(RegexSpec { regex: "1|3".to_owned() })),
    ]
}

fn conditions(
    names: Vec<&'static str>,
) -> impl Strategy<Value = std::collections::BTreeMap<String, ValueSpec>> {
    prop::collection::btree_map(prop::sample::select(names).prop_map(str::to_owned), value_spec(), 0..2)
}

fn match_spec() -> impl Strategy<Value = MatchSpec> {
    let hosts = vec!["a.test", "b.a.test", "*.a.test", "*.test", "*.b.a.test", "c"];
    let paths = vec!["/", "/*", "/a", "/a/", "/a/*", "/a/b", "/a/b/*", "/b/*", "~/a/.*", "~/.*b", "~/a|/b"];
    (
        prop::collection::vec(prop::sample::select(hosts).prop_map(str::to_owned), 0..3),
        prop::option::weighted(0.8, prop::sample::select(paths).prop_map(path_spec)),
        prop::collection::vec(prop::sample::select(vec!["GET", "PUT"]).prop_map(str::to_owned), 0..2),
        conditions(vec!["x-a", "Cookie"]),
        conditions(vec!["p", "q"]),
        prop::option::weighted(0.2, prop::sample::select(vec!["web", "other"]).prop_map(str::to_owned)),
    )
        .prop_map(|(host, path, method, headers, query, listener)| MatchSpec {
            host,
            path,
            method,
            headers,
            query,
            listener,
        })
}

fn pairs(names: Vec<&'static str>) -> impl Strategy<Value = Fields> {
    let name = prop::sample::select(names).prop_map(str::to_owned);
    prop::collection::vec((name, prop::sample::select(vec!["1", "2", "3"]).prop_map(str::to_owned)), 0..3)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn the_table_finds_what_trying_every_route_finds(
        all in prop::collection::vec(match_spec(), 1..12),
        host in prop::sample::select(vec!["a.test", "b.a.test", "x.b.a.test", "c", "d", "x.test"]),
        path in prop::sample::select(vec!["/", "/a", "/a/", "/a/b", "/a/b/c", "/b", "/b/b", "/ab", "/a/c"]),
        method in prop::sample::select(vec!["GET", "PUT", "POST"]),
        query in pairs(vec!["p", "q"]),
        fields in pairs(vec!["X-A", "cookie"]),
    ) {
        // Routes that clash are dropped, as the user would.
        let mut specs: Vec<MatchSpec> = Vec::new();
        for spec in all {
            specs.push(spec);
            if Table::build(specs.iter().map(|spec| (spec, ()))).is_err() {
                specs.pop();
            }
        }
        let text: Vec<String> = query.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let target = format!("{path}?{}", text.join("&"));
        let found = find_head(&table(&specs), host, &head(method, &target, &fields)).ok();
        prop_assert_eq!(found, slow_find(&specs, host, path, method, &query, &fields));
    }
}
