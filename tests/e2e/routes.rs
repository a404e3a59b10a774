//! Which route takes a request, and what it does with it.

use std::fmt::Write as _;

use crate::spread::spread;
use crate::support::{Connection, Lintel, Origin};

/// A config of routes that answer their own name. Each is a name and its match.
fn answering_routes(routes: &[(&str, &str)]) -> String {
    let mut yaml = String::from(
        "listeners:\n  http: { address: \"127.0.0.1:0\" }\n  other: { address: \"127.0.0.1:0\" }\nroutes:\n",
    );
    for (name, matches) in routes {
        let _ = writeln!(yaml, "  - {{ name: {name}, match: {matches}, respond: {{ body: {name} }} }}");
    }
    yaml
}

async fn answer(lintel: &Lintel, head: &str) -> String {
    let mut connection = Connection::open(lintel.http()).await;
    let request = format!("{head}\r\n\r\n");
    let response = connection.exchange(&request).await;
    if response.status() == 200 { response.text() } else { response.status().to_string() }
}

#[tokio::test]
async fn the_most_specific_match_wins_whatever_the_order() {
    let lintel = Lintel::start(answering_routes(&[
        ("any", "{}"),
        ("prefix", "{ path: /a/* }"),
        ("longer-prefix", "{ path: /a/b/* }"),
        ("regex", "{ path: { regex: \"/a/b/[0-9]+\" } }"),
        ("exact", "{ path: /a/b/7 }"),
        ("post", "{ path: /a/*, method: POST }"),
        ("header", "{ path: /a/*, headers: { x-beta: \"1\" } }"),
        ("query", "{ path: /a/*, query: { beta: \"1\" } }"),
        ("wildcard-host", "{ host: \"*.b.test\" }"),
        ("exact-host", "{ host: x.b.test }"),
        ("other-listener", "{ path: /only-other, listener: other }"),
    ]))
    .await;
    for (head, expected) in [
        ("GET / HTTP/1.1\r\nHost: a.test", "any"),
        ("GET /a HTTP/1.1\r\nHost: a.test", "prefix"),
        ("GET /a/ HTTP/1.1\r\nHost: a.test", "prefix"),
        ("GET /a/x HTTP/1.1\r\nHost: a.test", "prefix"),
        ("GET /ab HTTP/1.1\r\nHost: a.test", "any"),
        ("GET /a/b HTTP/1.1\r\nHost: a.test", "longer-prefix"),
        ("GET /a/b/x HTTP/1.1\r\nHost: a.test", "longer-prefix"),
        ("GET /a/b/8 HTTP/1.1\r\nHost: a.test", "regex"),
        ("GET /a/b/8x HTTP/1.1\r\nHost: a.test", "longer-prefix"),
        ("GET /a/b/7 HTTP/1.1\r\nHost: a.test", "exact"),
        ("GET /a/b/7?q HTTP/1.1\r\nHost: a.test", "exact"),
        ("POST /a/x HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0", "post"),
        ("GET /a/x HTTP/1.1\r\nHost: a.test\r\nX-Beta: 1", "header"),
        ("GET /a/x HTTP/1.1\r\nHost: a.test\r\nX-Beta: 2", "prefix"),
        ("GET /a/x?beta=1 HTTP/1.1\r\nHost: a.test", "query"),
        ("GET /a/x?beta=2 HTTP/1.1\r\nHost: a.test", "prefix"),
        ("GET /a/b/7 HTTP/1.1\r\nHost: x.b.test", "exact-host"),
        ("GET /a/b/7 HTTP/1.1\r\nHost: X.B.test:80", "exact-host"),
        ("GET /a/b/7 HTTP/1.1\r\nHost: y.b.test", "wildcard-host"),
        ("GET /a/b/7 HTTP/1.1\r\nHost: z.y.b.test", "wildcard-host"),
        ("GET /a/b/7 HTTP/1.1\r\nHost: b.test", "exact"),
        ("GET /only-other HTTP/1.1\r\nHost: a.test", "any"),
    ] {
        assert_eq!(answer(&lintel, head).await, expected, "{head}");
    }
    let mut connection = Connection::open(lintel.at("other")).await;
    assert_eq!(connection.get("/only-other").await.text(), "other-listener");
}

#[tokio::test]
async fn no_spelling_of_a_path_slips_past_a_match() {
    let origin = Origin::named("server");
    let yaml = format!(
        "listeners: {{ http: {{ address: \"127.0.0.1:0\" }} }}\npools: {{ web: {{ servers: [\"{}\"] }} }}\nroutes:\n  - {{ name: admin, match: {{ path: /admin/* }}, respond: {{ status: 403, body: no }} }}\n  - {{ name: all, to: web }}\n",
        origin.address()
    );
    let lintel = Lintel::start(yaml).await;
    for path in [
        "/admin",
        "/admin/",
        "/admin/x",
        "/x/../admin",
        "/./admin",
        "/x/../../admin",
        "//admin",
        "/x//../admin",
        "/%61dmin",
        "/%61%64%6D%69%6e",
        "/%2e/admin",
        "/x/%2e%2e/admin",
        "/x/%2E./admin/y",
        "/admin/../admin/x",
        "/admin%2f",
        "/admin%2Fx",
        "/%2fadmin",
        "/x%2f..%2fadmin",
        "/admin/%2e",
        "/admin;a=b/x",
        "/admin\\x",
        "/x\\..\\admin",
        "/admin%00",
        "/admin%5cx",
        "/admin?x/../..",
    ] {
        let mut connection = Connection::open(lintel.http()).await;
        let status = connection.get(path).await.status();
        // 403 by the route, or 400 where it could be read in two ways; never the server.
        let is_prefix_trick = path.starts_with("/admin;") || path.starts_with("/admin\\");
        assert!(matches!(status, 403 | 400) || (is_prefix_trick && status == 200), "{path} got {status}");
    }
    // What is forwarded is as it came.
    for path in ["/a%20b", "/a/./b/../c", "//x", "/%41?x=%2e", "/administrator"] {
        let mut connection = Connection::open(lintel.http()).await;
        assert_eq!(connection.get(path).await.text(), "server", "{path}");
        let forwarded = origin.requests().last().unwrap().target().to_owned();
        assert_eq!(forwarded, path);
    }
}

#[tokio::test]
async fn a_request_without_a_route_is_a_404() {
    let lintel = Lintel::start(answering_routes(&[("only", "{ path: /only }")])).await;
    assert_eq!(answer(&lintel, "GET /other HTTP/1.1\r\nHost: a").await, "404");
    let record = lintel.record_of("/other").await;
    assert_eq!((&record["status"], &record["fault"]), (&404.into(), &"no_route".into()));
    assert_eq!(answer(&lintel, "GET /only HTTP/1.1\r\nHost: a").await, "only");
}

#[tokio::test]
async fn a_split_follows_its_weights() {
    let (stable, canary) = (Origin::named("stable"), Origin::named("canary"));
    let yaml = format!(
        "listeners: {{ http: {{ address: \"127.0.0.1:0\" }} }}\npools:\n  stable: {{ servers: [\"{}\"] }}\n  canary: {{ servers: [\"{}\"] }}\nroutes:\n  - {{ name: all, to: {{ stable: 80, canary: 20 }} }}\n",
        stable.address(),
        canary.address()
    );
    let lintel = Lintel::start(yaml).await;
    let counts = spread(lintel.http(), "/", 500).await;
    assert!((60..=140).contains(&counts["canary"]), "{counts:?}");
    lintel.metric("lintel_route_requests_total", &[("route", "all"), ("pool", "canary")], 60.0).await;
}

#[tokio::test]
async fn redirects_and_fixed_responses_need_no_server() {
    let yaml = "listeners: { http: { address: \"127.0.0.1:0\" } }\nroutes:\n  - { name: old, match: { path: /old/* }, redirect: { to: /new/, status: 301 } }\n  - { name: away, match: { path: /away }, redirect: { to: \"https://b.test/x\" } }\n  - { name: robots, match: { path: /robots.txt }, respond: { status: 200, body: \"User-agent: *\", headers: { x-a: b } } }\n  - { name: gone, match: { path: /gone }, respond: { status: 410 } }\n";
    let lintel = Lintel::start(yaml).await;
    let mut connection = Connection::open(lintel.http()).await;
    for (path, status, location) in [
        ("/old/a/b?c=d", 301, "/new/a/b?c=d"),
        ("/old", 301, "/new/"),
        ("/away?q=1", 308, "https://b.test/x?q=1"),
    ] {
        let response = connection.get(path).await;
        assert_eq!((response.status(), response.field("location")), (status, Some(location)), "{path}");
    }
    let robots = connection.get("/robots.txt").await;
    assert_eq!((robots.text().as_str(), robots.field("x-a")), ("User-agent: *", Some("b")));
    assert_eq!(robots.field("content-type"), Some("text/plain; charset=utf-8"));
    assert_eq!(connection.get("/gone").await.status(), 410);
    // A body that nobody reads does not stay in the way.
    let post = "POST /gone HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc";
    assert_eq!(connection.exchange(post).await.status(), 410);
    let head = connection.exchange("HEAD /robots.txt HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!((head.field("content-length"), head.text().as_str()), (Some("13"), ""));
    let record = lintel.record_of("/robots.txt").await;
    assert_eq!((&record["route"], &record["attempts"]), (&"robots".into(), &0.into()));
}

#[tokio::test]
async fn a_redirect_cannot_be_bent_to_another_host_or_split() {
    let yaml = "listeners: { http: { address: \"127.0.0.1:0\" } }\nroutes:\n  - { name: old, match: { path: /old/* }, redirect: { to: / } }\n";
    let lintel = Lintel::start(yaml).await;
    for path in ["/old//evil.test", "/old/%2fevil.test", "/old/\\evil.test", "/old/%0d%0aSet-Cookie:x=y"] {
        let mut connection = Connection::open(lintel.http()).await;
        let response = connection.get(path).await;
        if response.status() == 400 {
            continue;
        }
        let location = response.field("location").unwrap_or_default();
        assert!(!location.starts_with("//") && !location.starts_with("/\\"), "{path} leads to {location}");
        assert_eq!(response.field("set-cookie"), None);
    }
}

#[tokio::test]
async fn paths_hosts_and_fields_are_rewritten_as_written() {
    let origin = Origin::named("server");
    let yaml = format!(
        "listeners: {{ http: {{ address: \"127.0.0.1:0\" }} }}\npools: {{ web: {{ servers: [\"{}\"] }} }}\npolicies:\n  branded:\n    - headers:\n        request: {{ set: {{ x-set: new }}, add: {{ x-add: more }}, remove: [x-gone] }}\n        response: {{ set: {{ x-served-by: lintel }}, remove: [x-server] }}\nroutes:\n  - {{ name: api, match: {{ path: /api/* }}, policies: [branded], rewrite: {{ strip_prefix: /api, host: internal.test }}, to: web }}\n  - {{ name: add, match: {{ path: /v2/* }}, rewrite: {{ strip_prefix: /v2, add_prefix: /app }}, to: web }}\n",
        origin.address()
    );
    let lintel = Lintel::start(yaml).await;
    let mut connection = Connection::open(lintel.http()).await;
    let request =
        "GET /api/users?id=1 HTTP/1.1\r\nHost: a.test\r\nX-Set: old\r\nX-Add: some\r\nX-Gone: x\r\n\r\n";
    let response = connection.exchange(request).await;
    assert_eq!((response.field("x-served-by"), response.field("x-server")), (Some("lintel"), None));
    let seen = origin.request(0).await;
    assert_eq!((seen.target(), seen.field("host")), ("/users?id=1", Some("internal.test")));
    assert_eq!(seen.field("x-forwarded-host"), Some("a.test"));
    assert_eq!(
        (seen.all("x-set"), seen.all("x-add"), seen.field("x-gone")),
        (vec!["new"], vec!["some", "more"], None)
    );
    for (path, target) in
        [("/api", "/"), ("/api/", "/"), ("/api?x", "/?x"), ("/v2/a", "/app/a"), ("/v2", "/app")]
    {
        connection.get(path).await;
        let seen = origin.requests().last().unwrap().target().to_owned();
        assert!(seen == target || seen == format!("{target}/"), "{path} became {seen}");
    }
}
