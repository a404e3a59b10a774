//! What a client says of itself in Forwarded and X-Forwarded-*: whom it makes the client, and what goes on to servers.

use std::net::{IpAddr, SocketAddr};

use lintel::proxy::forward::{announced_client, announced_scheme, is_loop, prepare_request};
use lintel::wire::body::Framing;
use lintel::wire::h1::request;
use lintel::wire::head::Head;

use crate::heads::{Fields, WIDE, facts, fields, values};

/// The input is the fields of a request, as lines.
pub fn check(input: &[u8]) {
    let text = [b"GET /a HTTP/1.1\r\nHost: a.example\r\n", input, b"\r\n\r\n"].concat();
    let text: &[u8] = text.strip_suffix(b"\r\n\r\n\r\n").map_or(&text, |_| &text[..text.len() - 2]);
    let mut head = Head::new();
    if request::parse(text, WIDE, &mut head).is_err() {
        return;
    }
    let sent = fields(&head);
    for trusted in [nobody, everybody, some] {
        assert_eq!(announced_client(&head, trusted), client(&sent, trusted));
    }
    assert_eq!(announced_scheme(&head), scheme(&sent));
    let passed_here = passed(&sent, "lintel-fuzz");
    assert_eq!(is_loop(&head, "lintel-fuzz"), passed_here);
    for trusted in [false, true] {
        check_onward(&head, &sent, trusted);
    }
}

fn nobody(_: IpAddr) -> bool {
    false
}

fn everybody(_: IpAddr) -> bool {
    true
}

fn some(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.octets()[0] == 10,
        IpAddr::V6(address) => address.segments()[0] == 0x2001,
    }
}

fn check_onward(head: &Head, sent: &Fields, trusted: bool) {
    let mut outgoing = Head::new();
    prepare_request(head, &mut outgoing, &facts(b"a.example", trusted, Framing::Empty));
    let onward = fields(&outgoing);
    let one = |name: &str| match values(&onward, name)[..] {
        [only] => only.to_vec(),
        ref many => panic!("{name} stands {} times", many.len()),
    };
    assert_eq!(values(&onward, "host"), [b"a.example"]);
    assert!(one("x-forwarded-for").ends_with(b"192.0.2.7"));
    assert!(one("forwarded").ends_with(b"for=192.0.2.7;host=\"a.example\";proto=https"));
    assert!(one("via").ends_with(b"1.1 lintel-fuzz"));
    assert_eq!(one("x-request-id"), b"0123456789abcdef0123456789abcdef");
    assert!(is_loop(&outgoing, "lintel-fuzz"), "the next one here would not know it");
    if !trusted {
        assert_eq!(one("x-forwarded-for"), b"192.0.2.7");
        assert_eq!(one("x-forwarded-proto"), b"https");
        assert_eq!(one("x-forwarded-host"), b"a.example");
        assert_eq!(one("x-forwarded-port"), b"443");
        assert_eq!(one("forwarded"), b"for=192.0.2.7;host=\"a.example\";proto=https");
        for name in
            ["x-real-ip", "x-client-cert-subject", "x-client-cert-verified", "x-client-cert-fingerprint"]
        {
            assert!(values(&onward, name).is_empty(), "{name} of a stranger went on");
        }
        // Servers behind CGI and WSGI read `_` as `-`.
        for (name, _) in &onward {
            let plain = name.replace('_', "-").to_ascii_lowercase();
            let is_ours = plain.starts_with("x-forwarded-") || plain == "forwarded" || plain == "x-real-ip";
            let known = [
                "x-forwarded-for",
                "x-forwarded-proto",
                "x-forwarded-host",
                "x-forwarded-port",
                "forwarded",
                "x-real-ip",
            ];
            assert!(!is_ours || !name.contains('_') || !known.contains(&plain.as_str()), "{name} went on");
        }
    }
    // What is between the client and the server goes through unless Connection or a rule takes it.
    let options: Vec<String> = members(sent, "connection");
    for (name, value) in sent {
        let lower = name.to_ascii_lowercase();
        if lower.starts_with("x-plain") && !options.contains(&lower) {
            assert!(onward.iter().any(|field| field.0 == *name && field.1 == *value), "{name} is lost");
        }
        if lower.starts_with("x-plain") && options.contains(&lower) {
            assert!(values(&onward, name).is_empty(), "{name} is of one hop");
        }
    }
}

/// Members of a list field, in lower case.
fn members(fields: &Fields, name: &str) -> Vec<String> {
    let joined: Vec<String> = values(fields, name)
        .iter()
        .map(|value| String::from_utf8_lossy(value).to_ascii_lowercase())
        .collect();
    joined
        .join(",")
        .split(',')
        .map(|member| member.trim().to_owned())
        .filter(|member| !member.is_empty())
        .collect()
}

/// The members as they were written.
fn raw_members<'a>(fields: &'a Fields, name: &str) -> Vec<&'a [u8]> {
    let mut found = Vec::new();
    for value in values(fields, name) {
        found.extend(
            value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|member| !member.is_empty()),
        );
    }
    found
}

fn client(fields: &Fields, is_trusted: fn(IpAddr) -> bool) -> Option<IpAddr> {
    let mut chain: Vec<Option<IpAddr>> =
        raw_members(fields, "x-forwarded-for").into_iter().map(address).collect();
    if chain.is_empty() {
        chain = raw_members(fields, "forwarded").into_iter().map(forwarded_for).collect();
    }
    let mut client = None;
    while let Some(Some(address)) = chain.pop() {
        client = Some(address);
        if !is_trusted(address) {
            break;
        }
    }
    client
}

fn address(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?.trim();
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let plain = if bare.len() == text.len() {
        text.parse::<IpAddr>().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|socket| socket.ip()))
    } else {
        bare.parse::<std::net::Ipv6Addr>().ok().map(IpAddr::V6)
    };
    plain.map(|address| address.to_canonical())
}

fn forwarded_for(element: &[u8]) -> Option<IpAddr> {
    for pair in element.split(|byte| *byte == b';') {
        let pair = pair.trim_ascii();
        if pair.len() >= 4 && pair[..4].eq_ignore_ascii_case(b"for=") {
            let value = &pair[4..];
            let quoted = value.len() >= 2 && value.starts_with(b"\"") && value.ends_with(b"\"");
            return address(if quoted { &value[1..value.len() - 1] } else { value });
        }
    }
    None
}

fn scheme(fields: &Fields) -> Option<&'static str> {
    match raw_members(fields, "x-forwarded-proto").last() {
        Some(&(b"https" | b"wss")) => Some("https"),
        Some(&(b"http" | b"ws")) => Some("http"),
        _ => None,
    }
}

fn passed(fields: &Fields, pseudonym: &str) -> bool {
    raw_members(fields, "via").into_iter().any(|hop| {
        let mut words = hop.split(|byte| byte.is_ascii_whitespace());
        words.next();
        words.next() == Some(pseudonym.as_bytes())
    })
}
