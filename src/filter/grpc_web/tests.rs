//! What is an origin, who is answered, and what responses say.

use proptest::prelude::*;

use super::*;

const APP: &str = "https://app.example.com";

fn spec(origins: &[&str]) -> Spec {
    Spec { origins: Some(origins.iter().map(|origin| origin.to_string()).collect()) }
}

fn filter(origins: &[&str]) -> GrpcWeb {
    GrpcWeb::compile(&spec(origins)).unwrap()
}

fn request(method: &str, fields: &[(&str, &str)]) -> Head {
    let mut head = Head::new();
    head.set_method(method.as_bytes());
    for (name, value) in fields {
        head.add(name, value.as_bytes());
    }
    head
}

fn preflight(origin: &str) -> Head {
    request("OPTIONS", &[("origin", origin), ("access-control-request-method", "POST")])
}

fn response(fields: &[(&str, &str)]) -> Head {
    let mut head = Head::response(200, "OK");
    for (name, value) in fields {
        head.add(name, value.as_bytes());
    }
    head
}

fn lines(head: &Head) -> Vec<String> {
    head.iter().map(|field| format!("{}: {}", field.name, String::from_utf8_lossy(field.value))).collect()
}

fn values<'a>(head: &'a Head, name: &'a str) -> Vec<&'a [u8]> {
    head.all_named(name).collect()
}

#[test]
fn what_is_an_origin_is_written_as_browsers_write_it() {
    for (text, as_sent) in [
        ("https://app.example.com", "https://app.example.com"),
        ("https://app.example.com:8443", "https://app.example.com:8443"),
        ("https://app.example.com:443", "https://app.example.com"),
        ("http://localhost:80", "http://localhost"),
        ("http://localhost:443", "http://localhost:443"),
        ("http://localhost:08080", "http://localhost:8080"),
        ("http://127.0.0.1:5173", "http://127.0.0.1:5173"),
        ("http://127.0.0.1", "http://127.0.0.1"),
        ("http://[::1]", "http://[::1]"),
        ("http://[0:0::1]:3000", "http://[::1]:3000"),
        ("http://[::1]:80", "http://[::1]"),
        ("https://xn--caf-dma.example", "https://xn--caf-dma.example"),
        ("capacitor://localhost", "capacitor://localhost"),
        ("chrome-extension://abcdefghijklmnop", "chrome-extension://abcdefghijklmnop"),
    ] {
        assert_eq!(origin(text).as_deref(), Ok(as_sent), "{text}");
    }
}

#[test]
fn what_is_no_origin_is_a_problem() {
    for text in [
        "",
        "null",
        "app.example.com",
        "app.example.com:443",
        "//app.example.com",
        "://app.example.com",
        "1https://app.example.com",
        "ht tp://app.example.com",
        "https://",
        "https://:443",
        "https://app.example.com:",
        "https://app.example.com:0x1",
        "https://app.example.com:65536",
        "https://app.example.com:+80",
        "https://user@app.example.com",
        "https://*.example.com",
        "https://app example.com",
        "https://app.example.com\r\nx: 1",
        "https://caf\u{e9}.example",
        "https://[::1",
        "https://::1",
        "https://https://app.example.com",
        "http://unix:80",
    ] {
        let message = origin(text).unwrap_err();
        assert!(message.contains("no origin"), "{text}: {message}");
        assert!(!message.contains(['\r', '\n']), "{text}");
    }
    for (text, says) in [
        ("https://app.example.com/", "no path; write `https://app.example.com`"),
        ("https://app.example.com/api", "write `https://app.example.com`"),
        ("https://app.example.com:8443?x", "write `https://app.example.com:8443`"),
        ("https://App.example.com", "write `https://app.example.com`"),
        ("HTTPS://app.example.com", "lower case"),
        ("*", "stand alone"),
    ] {
        let message = origin(text).unwrap_err();
        assert!(message.contains(says), "{text}: {message}");
    }
}

#[test]
fn every_problem_has_its_place() {
    let at = |spec: Spec| {
        let problems = GrpcWeb::compile(&spec).unwrap_err();
        problems.into_iter().map(|problem| problem.at).collect::<Vec<_>>()
    };
    assert_eq!(at(spec(&[])), ["grpc_web.origins"]);
    assert_eq!(at(spec(&["*", APP])), ["grpc_web.origins[0]"]);
    assert_eq!(at(spec(&[APP, "x", "*"])), ["grpc_web.origins[1]", "grpc_web.origins[2]"]);
    assert_eq!(at(spec(&["*", "*"])), ["grpc_web.origins[0]", "grpc_web.origins[1]"]);
}

#[test]
fn a_preflight_of_an_allowed_origin_is_answered() {
    let filter = filter(&["https://other.example.com", APP]);
    let reply = filter.preflight(&preflight(APP)).unwrap();
    assert_eq!((reply.head.status, reply.body.as_slice()), (204, b"".as_slice()));
    assert_eq!(
        lines(&reply.head),
        [
            "Access-Control-Allow-Origin: https://app.example.com",
            "Access-Control-Allow-Methods: POST",
            "Access-Control-Allow-Headers: content-type, x-grpc-web, x-user-agent, grpc-timeout, authorization",
            "Access-Control-Max-Age: 86400",
            "Vary: Origin",
        ]
    );
}

#[test]
fn a_star_allows_every_origin_without_naming_it() {
    let filter = filter(&["*"]);
    for origin in [APP, "null", "http://localhost:5173"] {
        let reply = filter.preflight(&preflight(origin)).unwrap();
        assert_eq!(values(&reply.head, ALLOW_ORIGIN), [b"*"]);
        assert!(values(&reply.head, "Access-Control-Allow-Credentials").is_empty());
        let mut head = response(&[("access-control-allow-credentials", "true")]);
        filter.allow(&request("POST", &[("Origin", origin)]), &mut head);
        assert_eq!(values(&head, ALLOW_ORIGIN), [b"*"]);
        assert!(values(&head, "Access-Control-Allow-Credentials").is_empty());
    }
}

#[test]
fn a_preflight_of_another_origin_is_refused() {
    let filter = filter(&[APP]);
    let two =
        request("OPTIONS", &[("Origin", APP), ("Origin", APP), ("Access-Control-Request-Method", "POST")]);
    let others = [
        "https://app.example.com.evil.test",
        "http://app.example.com",
        "https://app.example.com:8443",
        "https://APP.example.com",
        "https://app.example.com/",
        "https://xapp.example.com",
        "null",
        "",
    ];
    for request in others.iter().map(|origin| preflight(origin)).chain([two]) {
        let reply = filter.preflight(&request).unwrap();
        assert_eq!(reply.head.status, 403);
        assert!(!reply.head.iter().any(|field| is_cors(field.name) || field.name == VARY));
    }
}

#[test]
fn what_is_no_preflight_passes() {
    let asks = ("Access-Control-Request-Method", "POST");
    for head in [
        request("POST", &[("Origin", APP), asks]),
        request("options", &[("Origin", APP), asks]),
        request("OPTIONS", &[("Origin", APP)]),
        request("OPTIONS", &[asks]),
        request("OPTIONS", &[]),
    ] {
        assert!(filter(&[APP]).preflight(&head).is_none(), "{head:?}");
        assert!(filter(&["*"]).preflight(&head).is_none(), "{head:?}");
    }
}

#[test]
fn without_origins_nothing_is_said() {
    let filter = GrpcWeb::compile(&Spec::default()).unwrap();
    assert!(filter.preflight(&preflight(APP)).is_none());
    let mut head = response(&[("access-control-allow-origin", "*")]);
    filter.allow(&request("POST", &[("origin", APP)]), &mut head);
    assert_eq!(lines(&head), ["access-control-allow-origin: *"]);
}

#[test]
fn requested_headers_are_given_back_if_they_are_names() {
    let longest = "x".repeat(MOST_HEADERS);
    let too_long = "x".repeat(MOST_HEADERS + 1);
    let many = "x-metadata,".repeat(MOST_HEADERS);
    for (requested, allowed) in [
        (&["content-type,x-grpc-web"][..], Some("content-type, x-grpc-web")),
        (&["X-Tenant", " ,x-trace-bin , "], Some("X-Tenant, x-trace-bin")),
        (&[longest.as_str()], Some(longest.as_str())),
        (&[too_long.as_str()], None),
        (&[many.as_str()], None),
        (&[""], None),
        (&["content-type, a b"], None),
        (&["content-type", "x:y"], None),
        (&["x\u{e9}"], None),
        (&[], None),
    ] {
        let mut head = preflight(APP);
        requested.iter().for_each(|value| head.add("access-control-request-headers", value.as_bytes()));
        let reply = filter(&[APP]).preflight(&head).unwrap();
        let allowed = allowed.map_or(USUAL_HEADERS, str::as_bytes);
        assert_eq!(values(&reply.head, ALLOW_HEADERS), [allowed], "{requested:?}");
    }
}

#[test]
fn an_allowed_page_may_read_the_response() {
    let mut head = response(&[
        ("access-control-allow-origin", "*"),
        ("ACCESS-CONTROL-ALLOW-CREDENTIALS", "true"),
        ("Content-Type", "application/grpc-web+proto"),
        ("access-control-expose-headers", "x-else"),
    ]);
    let by_page = request("POST", &[("origin", APP)]);
    for _ in 0..2 {
        filter(&[APP]).allow(&by_page, &mut head);
        let mut found = lines(&head);
        found.sort_unstable();
        assert_eq!(
            found,
            [
                "Access-Control-Allow-Origin: https://app.example.com",
                "Access-Control-Expose-Headers: grpc-status, grpc-message, grpc-status-details-bin",
                "Content-Type: application/grpc-web+proto",
                "Vary: Origin",
            ]
        );
    }
}

#[test]
fn responses_to_others_stay_as_they_are() {
    for fields in [&[][..], &[("origin", "https://evil.test")], &[("origin", APP), ("origin", APP)]] {
        let mut head = response(&[("access-control-allow-origin", "https://else.test"), ("vary", "accept")]);
        filter(&[APP]).allow(&request("POST", fields), &mut head);
        assert_eq!(lines(&head), ["access-control-allow-origin: https://else.test", "vary: accept"]);
    }
}

#[test]
fn vary_gets_the_origin_once() {
    for (before, after) in [
        (&[][..], &["Origin"][..]),
        (&[""], &["Origin"]),
        (&["accept-encoding"], &["accept-encoding, Origin"]),
        (&["accept-encoding, accept", "cookie"], &["accept-encoding, accept, cookie, Origin"]),
        (&["origin"], &["origin"]),
        (&["accept", "Cookie,ORIGIN"], &["accept", "Cookie,ORIGIN"]),
        (&["*"], &["*"]),
        (&["x-origin"], &["x-origin, Origin"]),
    ] {
        let mut head = Head::response(200, "OK");
        before.iter().for_each(|value| head.add("vary", value.as_bytes()));
        vary_by_origin(&mut head);
        let after: Vec<_> = after.iter().map(|value| value.as_bytes()).collect();
        assert_eq!(values(&head, VARY), after, "{before:?}");
    }
}

proptest! {
    #[test]
    fn any_text_is_an_origin_or_a_problem(text in "(https?://)?[a-zA-Z0-9.:\\[\\]/\u{e9}_-]{0,24}|.{0,16}") {
        if let Ok(found) = origin(&text) {
            prop_assert!(!found.bytes().any(|byte| byte.is_ascii_uppercase() || byte <= b' '));
            prop_assert_eq!(origin(&found), Ok(found.clone()), "what browsers send stays as it is");
        }
    }

    #[test]
    fn no_preflight_adds_a_line(requested in proptest::collection::vec(any::<u8>(), 0..64)) {
        let mut head = preflight(APP);
        head.add(REQUEST_HEADERS, &requested);
        let reply = filter(&[APP]).preflight(&head).expect("an answer");
        prop_assert_eq!(reply.head.len(), 5);
        prop_assert!(reply.head.iter().all(|field| field.value.iter().all(|byte| (b' '..0x7f).contains(byte))));
    }
}
