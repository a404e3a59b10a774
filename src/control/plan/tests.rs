//! Every section and every kind of change, told as the command tells it.

use super::*;
use crate::config::load_text;
use crate::server;

mod routes;

const BASE: &str = r#"
listeners:
  http: { address: "127.0.0.1:8080" }
  https:
    address: "127.0.0.1:8443"
    tls: { certificates: [{ cert: a.crt, key: a.key }] }
pools:
  api:
    servers: ["10.0.0.1:3000", { address: "10.0.0.2:3000", weight: 2 }, "app.test:3000"]
    sticky: socket_io
  node:
    app: { command: node server.js, instances: 2, env: { MODE: one, DB_PASSWORD: old, TOKEN: "${TOKEN}" } }
policies:
  branded: [{ headers: { response: { set: { x-by: lintel } } } }]
routes:
  - { name: chat, match: { path: /chat/* }, to: node }
  - { match: { host: a.test, path: /api/* }, to: api, policies: [branded] }
  - { name: all, to: api }
"#;

fn load(text: &str) -> Loaded {
    let lookup = |name: &str| match name {
        "TOKEN" => Some("hunter2".to_owned()),
        "OTHER" => Some("hunter2-other".to_owned()),
        _ => None,
    };
    load_text("lintel.yaml", "/etc/lintel".into(), text.to_owned(), &lookup).unwrap()
}

fn figures() -> Figures {
    let server = |address: &str, in_flight| ServerFigures {
        address: address.parse().unwrap(),
        identity: address.to_owned(),
        in_flight,
    };
    let servers = vec![
        server("10.0.0.1:3000", 3),
        server("10.0.0.2:3000", 0),
        server("app.test:3000", 1),
        server("app.test:3000", 1),
    ];
    let api = PoolFigures { servers, tunnels: 2, ..PoolFigures::default() };
    let node = PoolFigures { instances: Some(3), ..PoolFigures::default() };
    Figures {
        connections: [("http".to_owned(), 12), ("https".to_owned(), 0)].into(),
        pools: [("api".to_owned(), api), ("node".to_owned(), node)].into(),
        auto_instances: 8,
    }
}

/// The plan from the base to what it becomes by these replacements.
fn plan(replacements: &[(&str, &str)]) -> Plan {
    let after = replacements.iter().fold(BASE.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "{from} is not in the base");
        text.replace(from, to)
    });
    between(BASE, &after)
}

fn between(before: &str, after: &str) -> Plan {
    Plan::between(&load(before), &load(after), &figures(), &BTreeSet::new())
}

/// A change in as many lines as it has.
fn lines(plan: &Plan) -> Vec<String> {
    let mut lines = Vec::new();
    for change in &plan.changes {
        lines.push(format!("{} {}", change.kind.word(), change.what));
        lines.extend(change.keys.iter().map(|key| format!("  {}: {}", key.name, key.text())));
        lines.extend(change.effects.iter().map(|effect| format!("  = {effect}")));
    }
    lines
}

#[test]
fn a_file_that_means_the_same_changes_nothing() {
    let plan = plan(&[("    sticky", "    # a word\n    sticky"), ("to: api, ", "to: { api: 100 }, ")]);
    assert_eq!(lines(&plan), Vec::<String>::new());
    assert_eq!(plan.summary(), "nothing would change");
}

#[test]
fn listeners_come_and_go() {
    let text = plan(&[("  http: {", "  web: {")]);
    assert_eq!(
        lines(&text),
        [
            "removed listener http",
            "  address: 127.0.0.1:8080 -> (not set)",
            "  = 12 connections open: each ends with its next answer; after 30s WebSockets say goodbye and the rest is cut",
            "added listener web",
            "  address: (not set) -> 127.0.0.1:8080",
            "  = listens on 127.0.0.1:8080",
        ]
    );
    assert_eq!(text.summary(), "1 added, 1 removed");
}

#[test]
fn a_listener_that_changes_says_what_becomes_of_its_connections() {
    let changed = plan(&[
        ("127.0.0.1:8080\"", "127.0.0.1:8081\", limits: { body: 1MiB }, trusted_proxies: [10.0.0.0/8]"),
        ("8443", "9443"),
        ("  https:\n", "  https:\n    timeouts: { head: 5s }\n"),
    ]);
    assert_eq!(
        lines(&changed),
        [
            "changed listener http",
            "  address: 127.0.0.1:8080 -> 127.0.0.1:8081",
            "  trusted_proxies: [] -> [10.0.0.0/8]",
            "  limits.body: 100MiB -> 1MiB",
            "  = listens on 127.0.0.1:8081, and no more on 127.0.0.1:8080",
            "  = 12 connections open: they keep the settings from before and end with their next answer; WebSockets and downloads go on",
            "changed listener https",
            "  address: 127.0.0.1:8443 -> 127.0.0.1:9443",
            "  timeouts.head: 10s -> 5s",
            "  = listens on 127.0.0.1:9443, and no more on 127.0.0.1:8443",
        ]
    );
    let at: Vec<String> = changed.changes[1].keys.iter().map(|key| key.at.to_string()).collect();
    assert_eq!(at, ["listeners.https.address", "listeners.https.timeouts.head"]);
}

#[test]
fn redirects_follow_the_listener_that_they_lead_to() {
    let before = BASE.replace("127.0.0.1:8080\"", "127.0.0.1:8080\", redirect_to: https");
    let after = before.replace("8443", "9443");
    let text = lines(&between(&before, &after)).join("\n");
    let line = "  = redirects of http lead there; 12 connections open: they keep the settings from before";
    assert!(text.contains(line), "{text}");
}

#[test]
fn files_that_were_written_anew_count() {
    let renewed = [PathBuf::from("/etc/lintel/a.crt")].into();
    let plan = Plan::between(&load(BASE), &load(BASE), &figures(), &renewed);
    assert_eq!(
        lines(&plan),
        [
            "changed listener https",
            "  tls.certificates[0].cert: a.crt (written anew)",
            "  = new handshakes get what the files hold now; connections go on",
        ]
    );
}

#[test]
fn certificates_are_compared_one_by_one_and_lists_of_other_lengths_as_a_whole() {
    let one = "{ cert: a.crt, key: a.key }";
    assert_eq!(
        lines(&plan(&[(one, "{ cert: b.crt, key: a.key }")]))[1],
        "  tls.certificates[0].cert: a.crt -> b.crt"
    );
    assert_eq!(
        lines(&plan(&[(one, "{ cert: a.crt, key: a.key }, { cert: b.crt, key: b.key }")]))[1],
        "  tls.certificates: [{ cert: a.crt, key: a.key }] -> [{ cert: a.crt, key: a.key }, { cert: b.crt, key: b.key }]"
    );
}

#[test]
fn pools_come_and_go_with_their_servers_and_workers() {
    let gone = plan(&[
        ("  api:\n", "  next:\n"),
        ("to: api", "to: next"),
        ("  node:\n", "  worker:\n"),
        ("to: node", "to: worker"),
    ]);
    let text = lines(&gone);
    for line in [
        "removed pool api",
        "  = 2 open WebSockets to it",
        "removed server 10.0.0.1:3000 of api",
        "  = 3 requests in flight may go on for 30s; then WebSockets say goodbye and the rest is cut",
        "removed server 10.0.0.2:3000 of api",
        "  weight: 2 -> (not set)",
        "  = nothing is in flight on it",
        "removed server app.test:3000 of api",
        "  = 2 requests in flight may go on for 30s; then WebSockets say goodbye and the rest is cut",
        "added pool next",
        "  sticky: (not set) -> socket_io",
        "added server 10.0.0.2:3000 of next",
        "  weight: (not set) -> 2",
        "removed pool node",
        "removed workers of node",
        "  command: node server.js -> (not set)",
        "  env: { MODE: one, DB_PASSWORD: (hidden), TOKEN: ${TOKEN} } -> (not set)",
        "  = 3 workers will end; requests in flight have 30s, then it has 30s to exit",
        "added workers of worker",
        "  = 2 workers will be started",
        "changed route chat",
        "  to: node -> worker",
    ] {
        assert!(text.contains(&line.to_owned()), "no `{line}` in\n{}", text.join("\n"));
    }
    assert_eq!(gone.summary(), "6 added, 6 removed, 3 changed");
}

#[test]
fn servers_are_compared_by_address() {
    let plan = plan(&[(
        r#"["10.0.0.1:3000", { address: "10.0.0.2:3000", weight: 2 }"#,
        r#"["10.0.0.9:3000", { address: "10.0.0.2:3000", weight: 5 }, { address: "10.0.0.1:3000", backup: true }"#,
    )]);
    assert_eq!(
        lines(&plan),
        [
            "added server 10.0.0.9:3000 of api",
            "changed server 10.0.0.2:3000 of api",
            "  weight: 2 -> 5",
            "changed server 10.0.0.1:3000 of api",
            "  backup: false -> true",
            "  = it counts as a new server; 3 requests in flight may go on for 30s; then WebSockets say goodbye and the rest is cut",
        ]
    );
    assert_eq!(plan.changes[0].at.to_string(), "pools.api.servers[0]");
}

#[test]
fn orders_that_are_not_kept_are_forgotten() {
    use crate::pool::Keep::{OverReloads, UntilReload};
    let mut figures = figures();
    let api = figures.pools.get_mut("api").unwrap();
    api.servers[2].identity = "app.test:3000/10.0.1.1".to_owned();
    let spec = |address: &str| server::Spec { address: address.parse().unwrap(), weight: 3, backup: false };
    api.orders.add(spec("10.0.0.7:80"), UntilReload);
    api.orders.add(spec("10.0.0.8:80"), OverReloads);
    api.orders.remove("10.0.0.1:3000", UntilReload, &[spec("10.0.0.1:3000")]);
    api.orders.weigh("10.0.0.2:3000", 7, UntilReload);
    api.orders.drain("10.0.0.2:3000", UntilReload);
    api.orders.weigh("app.test:3000/10.0.1.1", 5, UntilReload);
    let forgotten = Plan::between(&load(BASE), &load(BASE), &figures, &BTreeSet::new());
    assert_eq!(
        lines(&forgotten),
        [
            "added server 10.0.0.1:3000 of api",
            "  = it was taken out by order",
            "changed server 10.0.0.2:3000 of api",
            "  weight: 7 (by order) -> 2",
            "  = it was drained by order and gets work again",
            "removed server 10.0.0.7:80 of api",
            "  = it was added by order",
            "  = nothing is in flight on it",
            "changed server app.test:3000/10.0.1.1 of api",
            "  weight: 5 (by order) -> 1",
        ]
    );

    let api = figures.pools.get_mut("api").unwrap();
    api.orders = crate::pool::Overrides::default();
    api.orders.weigh("10.0.0.2:3000", 7, OverReloads);
    api.orders.drain("10.0.0.1:3000", OverReloads);
    let after = load(&BASE.replace("weight: 2", "weight: 3"));
    let kept = Plan::between(&load(BASE), &after, &figures, &BTreeSet::new());
    assert_eq!(lines(&kept), Vec::<String>::new(), "what was ordered goes on to count");
}

#[test]
fn settings_of_a_pool_are_told_as_they_are_written() {
    let plan = plan(&[
        (
            "    sticky: socket_io\n",
            "    health_check: /healthz\n    balance: { policy: consistent_hash, key: uri }\n    slow_start: 30s\n",
        ),
        (
            "\npools:\n",
            "\ndefaults: { timeouts: { connect: 1s }, health_check: { path: /, interval: 3s } }\npools:\n",
        ),
    ]);
    let text = lines(&plan);
    for line in [
        "changed pool api",
        "  sticky: socket_io -> (not set)",
        "  health_check: (not set) -> { path: /healthz, interval: 3s }",
        "  balance: least_connections -> { policy: consistent_hash, key: uri }",
        "  slow_start: (not set) -> 30s",
        "  timeouts.connect: 3s -> 1s",
        "  = sessions that are bound to a server are bound anew",
        "changed pool node",
    ] {
        assert!(text.contains(&line.to_owned()), "no `{line}` in\n{}", text.join("\n"));
    }
}

#[test]
fn a_pool_that_is_reached_in_another_way_has_new_servers() {
    let text = lines(&plan(&[("    sticky: socket_io", "    sticky: socket_io\n    protocol: http2")]));
    assert_eq!(
        text,
        [
            "changed pool api",
            "  protocol: http1 -> http2",
            "  = all servers are made anew, with no health and no load known of them; 5 requests in flight may go on for 30s; \
             then WebSockets say goodbye and the rest is cut",
        ]
    );
}

#[test]
fn workers_roll_over_scale_or_go_on() {
    let roll = plan(&[
        ("MODE: one", "MODE: two"),
        ("DB_PASSWORD: old", "DB_PASSWORD: new"),
        ("${TOKEN}", "${OTHER}"),
    ]);
    assert_eq!(
        lines(&roll),
        [
            "changed workers of node",
            "  env.DB_PASSWORD: (changed)",
            "  env.MODE: one -> two",
            "  env.TOKEN: ${TOKEN} -> ${OTHER}",
            "  = 3 workers will roll over, 1 at a time: an old one goes once a new one is ready",
        ]
    );
    assert_eq!(roll.summary(), "1 changed; workers of node will roll over");
    assert_eq!(roll.changes[0].turnover, Some(Turnover::RollOver(3)), "an order had scaled it");

    let scale = plan(&[("instances: 2", "instances: auto")]);
    assert_eq!(lines(&scale)[1..], ["  instances: 2 -> auto", "  = 5 workers more"]);
    assert_eq!(scale.summary(), "1 changed; the number of workers of node changes");
    let both = lines(&plan(&[("instances: 2", "instances: 1, rollout: { surge: 2 }, user: app")]));
    assert!(both[4].starts_with("  = 3 workers will roll over to 1, 2 at a time"), "{both:?}");
    let stay = lines(&plan(&[("instances: 2", "instances: 2, rollout: { surge: 2 }")]));
    assert_eq!(stay[2], "  = 3 workers go on: none is started anew");
    let fewer = lines(&plan(&[("instances: 2", "instances: 1")]));
    assert_eq!(fewer[2], "  = 2 workers fewer");
}

#[test]
fn values_of_the_environment_and_secrets_are_never_shown() {
    let plan = plan(&[
        ("MODE: one", "MODE: \"${OTHER}\""),
        ("DB_PASSWORD: old, ", ""),
        ("TOKEN: \"${TOKEN}\"", "TOKEN: literal-secret, URL: \"redis://u:literal-secret@h\""),
        ("x-by: lintel", "x-by: \"${TOKEN}\", authorization: literal-secret"),
        ("10.0.0.1:3000", "${OTHER}.test:3000"),
        ("path: /chat/*", "path: \"/${TOKEN}/*\""),
        ("host: a.test", "host: [\"${TOKEN}.test\"]"),
        ("name: all", "name: \"${OTHER}\""),
        ("127.0.0.1:8080", "unix:${TOKEN}.sock"),
    ]);
    let text = format!("{plan:?}{}", lines(&plan).join("\n"));
    assert!(!text.contains("hunter2") && !text.contains("literal-secret"), "{text}");
    let text = lines(&plan);
    for line in [
        "  env.MODE: one -> ${OTHER}",
        "  env.DB_PASSWORD: (hidden) -> (not set)",
        "  env.TOKEN: ${TOKEN} -> (hidden)",
        "  env.URL: (not set) -> redis://u:(hidden)@h",
        "  [0].headers.response.set.authorization: (not set) -> (hidden)",
        "added server ${OTHER}.test:3000 of api",
        "  match.path: /chat/* -> /${TOKEN}/*",
        "added route ${TOKEN}.test/api/*",
        "added route ${OTHER}",
        "  = listens on unix:${TOKEN}.sock, and no more on 127.0.0.1:8080",
        "  = counts for new requests of ${TOKEN}.test/api/*",
    ] {
        assert!(text.contains(&line.to_owned()), "no `{line}` in\n{}", text.join("\n"));
    }
}

#[test]
fn orders_and_lists_show_no_values_of_the_environment() {
    let expression = |path: &str| format!("  - {{ match: {{ path: {{ regex: \"{path}\" }} }}, to: api }}\n");
    let (a, b) = (expression("/${TOKEN}"), expression("/b"));
    let with = |routes: &str| BASE.replace("10.0.0.1:3000", "${TOKEN}:3000") + routes;
    let mut figures = figures();
    let api = figures.pools.get_mut("api").unwrap();
    for (server, address) in api.servers.iter_mut().zip(["hunter2:3000", "10.0.0.2:3000"]) {
        server.address = address.parse().unwrap();
        server.identity = format!("{address}/10.1.1.1");
        api.orders.drain(&server.identity, crate::pool::Keep::UntilReload);
    }
    let (before, after) = (load(&with(&(a.clone() + &b))), load(&with(&(b + &a))));
    let plan = Plan::between(&before, &after, &figures, &BTreeSet::new());
    let text = lines(&plan);
    assert!(!text.join("\n").contains("hunter2"), "{text:?}");
    for line in [
        "changed server ${TOKEN}:3000/10.1.1.1 of api",
        "changed server 10.0.0.2:3000/10.1.1.1 of api",
        "  : [~/${TOKEN}, ~/b] -> [~/b, ~/${TOKEN}]",
    ] {
        assert!(text.contains(&line.to_owned()), "no `{line}` in\n{}", text.join("\n"));
    }
}

#[test]
fn sections_that_there_is_one_of_say_what_needs_a_restart() {
    let after = format!(
        "{BASE}observability:\n  access_log: off\n  log: {{ level: debug, format: json }}\n  metrics: {{ address: \":9901\" }}\n\
         admin: {{ address: \"127.0.0.1:9900\" }}\nruntime: {{ threads: 4, drain_timeout: 5s }}\n"
    );
    let plan = between(BASE, &after);
    assert_eq!(
        lines(&plan),
        [
            "changed observability",
            "  access_log: { path: stdout, format: json } -> off",
            "  log.level: info -> debug",
            "  log.format: text -> json",
            "  metrics: (not set) -> { address: :9901 }",
            "  = only after a restart: observability.log.format",
            "changed admin",
            "  address: (not set) -> 127.0.0.1:9900",
            "  = commands find Lintel at the new address, with the new file",
            "changed runtime",
            "  threads: auto -> 4",
            "  drain_timeout: 30s -> 5s",
            "  = only after a restart: runtime.threads",
        ]
    );
    assert_eq!(plan.needs_restart, ["runtime.threads", "observability.log.format"]);
    assert_eq!(plan.summary(), "3 changed; only after a restart: runtime.threads, observability.log.format");
}
