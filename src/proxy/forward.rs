//! What a request and a response lose and gain on their way through: hop-by-hop fields, Via, X-Forwarded-*, Forwarded.
//!
//! RFC 9110 sections 7.6 and 17, RFC 7239. What a client says about itself counts only from a trusted peer.

use std::net::IpAddr;

use percent_encoding::{CONTROLS, percent_encode};
use smallvec::SmallVec;

use crate::wire::body::Framing;
use crate::wire::head::{Head, Known, Names, Version};
use crate::wire::token::list;

/// What is known of the client's side when a request is forwarded.
pub struct Facts<'a> {
    /// The other end of the connection; `None` on a unix socket.
    pub peer: Option<IpAddr>,
    /// Its word about the client is believed.
    pub trusted: bool,
    pub scheme: &'a str,
    /// Host as the client wrote it, with its port.
    pub host: &'a [u8],
    /// Port of the listener that the client came to.
    pub port: u16,
    pub request_id: &'a str,
    pub pseudonym: &'a str,
    /// The client's certificate: subject and SHA-256 fingerprint.
    pub certificate: Option<(&'a str, &'a str)>,
    pub keep_expect: bool,
    /// The body goes on chunked, so trailers can.
    pub chunked: bool,
    /// The server speaks HTTP/2, where `TE: trailers` is for both ends.
    pub http2: bool,
    /// What the server is told of this.
    pub told: Names,
}

/// Fields of one hop, in both directions (RFC 9110 section 7.6.1); how long the body is, its framing says.
const OF_ONE_HOP: Names = Names::of(&[
    Known::Connection,
    Known::KeepAlive,
    Known::ProxyConnection,
    Known::Te,
    Known::TransferEncoding,
    Known::ContentLength,
    Known::Upgrade,
]);

/// The same for requests alone.
const OF_ONE_HOP_IN_REQUESTS: Names = Names::of(&[Known::ProxyAuthorization, Known::Http2Settings]);

/// And for responses.
const OF_ONE_HOP_IN_RESPONSES: Names = Names::of(&[Known::ProxyAuthenticate, Known::ProxyAuthenticationInfo]);

/// What is told here of a request's way, in place of what came.
const TOLD: Names = Names::of(&[
    Known::XForwardedFor,
    Known::XForwardedProto,
    Known::XForwardedHost,
    Known::XForwardedPort,
    Known::Forwarded,
    Known::XRequestId,
]);

/// What else only a trusted peer may say of a client.
const TRUSTED: Names = Names::of(&[
    Known::XRealIp,
    Known::ClientCertSubject,
    Known::ClientCertFingerprint,
    Known::ClientCertVerified,
]);

/// What of a request does not go on to its server.
fn kept_back(facts: &Facts<'_>) -> Names {
    let mut names = OF_ONE_HOP.or(OF_ONE_HOP_IN_REQUESTS);
    if !facts.chunked {
        names.insert(Known::Trailer);
    }
    if !facts.keep_expect {
        names.insert(Known::Expect);
    }
    names.or(if facts.trusted { TOLD.without(facts.told) } else { TOLD.or(TRUSTED) })
}

/// Makes `outgoing`, the head for the server, out of `request`.
pub fn prepare_request(request: &Head, outgoing: &mut Head, facts: &Facts<'_>) {
    outgoing.clone_from(request);
    outgoing.version = Version::Http11;
    if may_nominate(request) {
        strip_nominated(request, outgoing);
    }
    outgoing.remove_all(kept_back(facts));
    outgoing.remove_others(is_disguised);
    let takes_trailers = |member: &[u8]| member.eq_ignore_ascii_case(b"trailers");
    if facts.http2 && request.all(Known::Te).flat_map(list).any(takes_trailers) {
        outgoing.add_known(Known::Te, b"trailers");
    }
    if !outgoing.has(Known::Host) {
        // HTTP/1.0 without Host: HTTP/1.1 must name one, and an empty one says that there is none (RFC 9112 section 3.2).
        outgoing.set_known(Known::Host, facts.host);
    }
    add_forwarded(outgoing, facts);
    if facts.told.has(Known::Via) {
        add_via(request, outgoing, facts.pseudonym);
    }
    if facts.told.has(Known::XRequestId) {
        outgoing.set_known(Known::XRequestId, facts.request_id.as_bytes());
    }
    if let Some((subject, fingerprint)) = facts.certificate {
        outgoing.set_known(Known::ClientCertVerified, b"SUCCESS");
        outgoing.set_known(Known::ClientCertSubject, subject.as_bytes());
        outgoing.set_known(Known::ClientCertFingerprint, fingerprint.as_bytes());
    }
}

/// What of a request's trailers goes on to its server: nothing that a head has a meaning for here, whatever a server makes
/// of it that adds trailers to its head (RFC 9110 section 6.5.1).
pub fn late_fields(trailers: &Head) -> Head {
    let mut late = Head::new();
    for field in trailers.iter() {
        if field.known == Known::Other && !is_disguised(field.name.as_bytes()) {
            late.add(field.name, field.value);
        }
    }
    late
}

/// Makes the target what a URI is (RFC 3986 section 2.1), where the client sent bytes beyond ASCII as they are.
///
/// Servers that read heads as Latin-1 take them for other characters: Python's http.server splits its first line at 0x85
/// and 0xA0 as at white space, so it would serve another path than the one that was routed.
pub fn escape_target(outgoing: &mut Head) {
    if !outgoing.target().is_ascii() {
        let escaped: String = percent_encode(outgoing.target(), CONTROLS).collect();
        outgoing.set_target(escaped.as_bytes());
    }
}

/// Takes what is of one hop out of a response whose body goes on as `body`.
pub fn prepare_response(response: &mut Head, body: Framing) {
    if may_nominate(response) {
        let original = response.clone();
        strip_nominated(&original, response);
    }
    let mut names = OF_ONE_HOP.or(OF_ONE_HOP_IN_RESPONSES);
    if body != Framing::Chunked {
        names.insert(Known::Trailer);
    }
    response.remove_all(names);
}

/// Whether this process already forwarded the request.
pub fn is_loop(request: &Head, pseudonym: &str) -> bool {
    request
        .all(Known::Via)
        .flat_map(list)
        .any(|hop| hop.split(u8::is_ascii_whitespace).nth(1).is_some_and(|by| by == pseudonym.as_bytes()))
}

/// The client as a trusted peer tells it: the last address that is not itself trusted.
pub fn announced_client(request: &Head, is_trusted: impl Fn(IpAddr) -> bool) -> Option<IpAddr> {
    let mut client = None;
    let chain: Vec<&[u8]> = request.all(Known::XForwardedFor).flat_map(list).collect();
    let addresses: Vec<Option<IpAddr>> = if chain.is_empty() {
        request.all(Known::Forwarded).flat_map(list).map(forwarded_for).collect()
    } else {
        chain.into_iter().map(parse_address).collect()
    };
    for address in addresses.into_iter().rev() {
        // What is not an address ends the chain: nothing before it can be believed.
        let Some(address) = address else { break };
        client = Some(address);
        if !client.is_some_and(&is_trusted) {
            break;
        }
    }
    client
}

/// The scheme that a trusted peer says the client used.
pub fn announced_scheme(request: &Head) -> Option<&'static str> {
    let last = request.all(Known::XForwardedProto).flat_map(list).last()?;
    match last {
        b"https" | b"wss" => Some("https"),
        b"http" | b"ws" => Some("http"),
        _ => None,
    }
}

/// Fields that the Connection field names are of this hop (RFC 9110 section 7.6.1).
fn strip_nominated(original: &Head, head: &mut Head) {
    for option in nominations(original) {
        if let Ok(name) = std::str::from_utf8(option) {
            head.remove(name);
        }
    }
}

/// What Connection names to be taken out.
fn nominations(head: &Head) -> impl Iterator<Item = &[u8]> {
    head.all(Known::Connection).flat_map(list).filter(|option| is_nomination(option))
}

/// Whether Connection may name something. Most often it says one word about the connection, and is not read as a list.
fn may_nominate(head: &Head) -> bool {
    head.all(Known::Connection).any(|value| !matches!(value, b"keep-alive" | b"close"))
}

/// Whether an option of Connection names a field that may be taken out.
fn is_nomination(option: &[u8]) -> bool {
    !option.eq_ignore_ascii_case(b"close")
        && !option.eq_ignore_ascii_case(b"keep-alive")
        && !matches!(Known::of(option), Known::Host | Known::ContentLength | Known::TransferEncoding)
}

/// `X_Forwarded_For` and its like: servers that turn `-` into `_` would take it for the real one.
fn is_disguised(name: &[u8]) -> bool {
    name.contains(&b'_') && {
        let plain: Vec<u8> = name.iter().map(|byte| if *byte == b'_' { b'-' } else { *byte }).collect();
        Known::of(&plain) != Known::Other
    }
}

fn add_forwarded(outgoing: &mut Head, facts: &Facts<'_>) {
    let told = facts.told;
    let scheme = facts.scheme.as_bytes();
    if told.has(Known::XForwardedFor) || told.has(Known::Forwarded) {
        let peer = facts.peer.map(text_of);
        if told.has(Known::XForwardedFor)
            && let Some(peer) = &peer
        {
            append(outgoing, Known::XForwardedFor, &[peer]);
        }
        if told.has(Known::Forwarded) {
            add_element(outgoing, facts, peer.as_deref().unwrap_or(b"unknown"));
        }
    }
    let mut port = itoa::Buffer::new();
    for (known, value) in [
        (Known::XForwardedProto, scheme),
        (Known::XForwardedHost, facts.host),
        (Known::XForwardedPort, port.format(facts.port).as_bytes()),
    ] {
        if told.has(known) && !outgoing.has(known) && !value.is_empty() {
            outgoing.add_known(known, value);
        }
    }
}

/// The element of Forwarded for this hop (RFC 7239 section 4).
fn add_element(outgoing: &mut Head, facts: &Facts<'_>, address: &[u8]) {
    let scheme = facts.scheme.as_bytes();
    let (open, close): (&[u8], &[u8]) = match facts.peer {
        Some(IpAddr::V6(_)) => (b"\"[", b"]\""),
        _ => (b"", b""),
    };
    if facts.host.is_empty() || !facts.host.is_ascii() {
        append(outgoing, Known::Forwarded, &[b"for=", open, address, close, b";proto=", scheme]);
    } else {
        let host: &[&[u8]] = &[b"for=", open, address, close, b";host=\"", facts.host, b"\";proto=", scheme];
        append(outgoing, Known::Forwarded, host);
    }
}

/// An address as text. That of IPv4 is made by hand, since formatting one costs more than to parse a whole head.
fn text_of(address: IpAddr) -> SmallVec<[u8; 40]> {
    let IpAddr::V4(address) = address else {
        return SmallVec::from_slice(address.to_string().as_bytes());
    };
    let (mut text, mut end) = ([0; 15], 0);
    let mut digits = itoa::Buffer::new();
    for (place, octet) in address.octets().into_iter().enumerate() {
        let octet = digits.format(octet).as_bytes();
        if place > 0 {
            text[end] = b'.';
            end += 1;
        }
        text[end..end + octet.len()].copy_from_slice(octet);
        end += octet.len();
    }
    SmallVec::from_slice(&text[..end])
}

fn add_via(request: &Head, outgoing: &mut Head, pseudonym: &str) {
    let version: &[u8] = match request.version {
        Version::Http10 => b"1.0 ",
        Version::Http11 => b"1.1 ",
        Version::Http2 => b"2.0 ",
    };
    append(outgoing, Known::Via, &[version, pseudonym.as_bytes()]);
}

/// Adds a member, given in pieces, to a list field.
fn append(head: &mut Head, known: Known, member: &[&[u8]]) {
    if !head.has(known) {
        return head.add_joined(known, member);
    }
    let mut joined = Vec::with_capacity(192);
    for value in head.all(known) {
        joined.extend_from_slice(value);
        joined.extend_from_slice(b", ");
    }
    member.iter().for_each(|piece| joined.extend_from_slice(piece));
    head.set_known(known, &joined);
}

/// An address with or without its port or brackets.
fn parse_address(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?.trim();
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(address.to_canonical());
    }
    if let Ok(address) = text.parse::<std::net::SocketAddr>() {
        return Some(address.ip().to_canonical());
    }
    text.strip_prefix('[')?.strip_suffix(']')?.parse().ok()
}

/// The `for` parameter of one element of Forwarded (RFC 7239 section 4).
fn forwarded_for(element: &[u8]) -> Option<IpAddr> {
    element.split(|byte| *byte == b';').find_map(|pair| {
        let (name, value) = pair.trim_ascii().split_at_checked(4)?;
        if !name.eq_ignore_ascii_case(b"for=") {
            return None;
        }
        let value = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value);
        parse_address(value)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::forwarded::{self, ForwardedHeader};

    fn head(fields: &[(&str, &str)]) -> Head {
        let mut head = Head::new();
        head.set_method(b"GET");
        head.set_target(b"/");
        fields.iter().for_each(|(name, value)| head.add(name, value.as_bytes()));
        head
    }

    fn facts(trusted: bool) -> Facts<'static> {
        Facts {
            peer: Some("192.0.2.7".parse().unwrap()),
            trusted,
            scheme: "https",
            host: b"a.example:8443",
            port: 8443,
            request_id: "id",
            pseudonym: "lintel-1",
            certificate: None,
            keep_expect: false,
            chunked: false,
            http2: false,
            told: forwarded::names(&ForwardedHeader::ALL),
        }
    }

    fn forwarded(fields: &[(&str, &str)], trusted: bool) -> Vec<String> {
        let mut outgoing = Head::new();
        prepare_request(&head(fields), &mut outgoing, &facts(trusted));
        outgoing.iter().map(|f| format!("{}: {}", f.name, String::from_utf8_lossy(f.value))).collect()
    }

    #[test]
    fn an_untrusted_client_cannot_say_who_it_is() {
        let lines = forwarded(
            &[
                ("Host", "a.example:8443"),
                ("X-Forwarded-For", "1.1.1.1"),
                ("x-real-ip", "1.1.1.1"),
                ("X_Forwarded_For", "1.1.1.1"),
                ("X-Client-Cert-Subject", "CN=root"),
                ("X-Request-Id", "mine"),
                ("Forwarded", "for=1.1.1.1"),
            ],
            false,
        );
        assert_eq!(
            lines,
            [
                "Host: a.example:8443",
                "X-Forwarded-For: 192.0.2.7",
                "Forwarded: for=192.0.2.7;host=\"a.example:8443\";proto=https",
                "X-Forwarded-Proto: https",
                "X-Forwarded-Host: a.example:8443",
                "X-Forwarded-Port: 8443",
                "Via: 1.1 lintel-1",
                "X-Request-Id: id",
            ]
        );
    }

    #[test]
    fn servers_are_told_what_is_listed_whoever_said_more() {
        let fields = [
            ("Host", "a"),
            ("X-Forwarded-For", "1.1.1.1"),
            ("X-Forwarded-Host", "b"),
            ("Forwarded", "for=1.1.1.1"),
            ("X-Request-Id", "theirs"),
            ("X-Real-IP", "1.1.1.1"),
            ("Via", "1.1 front"),
        ];
        let told = |listed: &[ForwardedHeader], trusted| {
            let mut outgoing = Head::new();
            let facts = Facts { told: forwarded::names(listed), ..facts(trusted) };
            prepare_request(&head(&fields), &mut outgoing, &facts);
            outgoing.iter().map(|f| format!("{}: {}", f.name, String::from_utf8_lossy(f.value))).collect()
        };
        let two: Vec<String> =
            told(&[ForwardedHeader::XForwardedFor, ForwardedHeader::XForwardedProto], true);
        let chain = "X-Forwarded-For: 1.1.1.1, 192.0.2.7";
        let proto = "X-Forwarded-Proto: https";
        assert_eq!(two, ["Host: a", chain, "X-Real-IP: 1.1.1.1", "Via: 1.1 front", proto]);
        let none: Vec<String> = told(&[], false);
        assert_eq!(none, ["Host: a", "Via: 1.1 front"]);
    }

    #[test]
    fn a_trusted_peer_is_appended_to() {
        let lines =
            forwarded(&[("Host", "a"), ("X-Forwarded-For", "1.1.1.1"), ("X-Forwarded-Proto", "http")], true);
        assert!(lines.contains(&"X-Forwarded-For: 1.1.1.1, 192.0.2.7".to_owned()), "{lines:?}");
        assert!(lines.contains(&"X-Forwarded-Proto: http".to_owned()), "{lines:?}");
    }

    #[test]
    fn hop_by_hop_fields_and_those_that_connection_names_stay_here() {
        let lines = forwarded(
            &[
                ("Host", "a"),
                ("Connection", "close, X-Secret"),
                ("x-secret", "1"),
                ("TE", "trailers"),
                ("Keep-Alive", "x"),
            ],
            false,
        );
        let names: Vec<_> = lines.iter().map(|line| line.split(':').next().unwrap()).collect();
        assert!(
            !names.iter().any(|name| ["Connection", "x-secret", "TE", "Keep-Alive"].contains(name)),
            "{names:?}"
        );
    }

    #[test]
    fn the_client_is_the_last_address_that_is_not_trusted() {
        let trusted = |address: IpAddr| address.to_string().starts_with("10.");
        let client = |chain: &str| {
            announced_client(&head(&[("X-Forwarded-For", chain)]), trusted).map(|ip| ip.to_string())
        };
        assert_eq!(client("6.6.6.6, 1.2.3.4, 10.0.0.2"), Some("1.2.3.4".into()));
        assert_eq!(client("10.0.0.3, 10.0.0.2"), Some("10.0.0.3".into()));
        assert_eq!(client("garbage"), None);
        let standard = head(&[("Forwarded", "for=\"[2001:db8::1]:443\";proto=https, for=10.0.0.2")]);
        assert_eq!(announced_client(&standard, trusted).unwrap().to_string(), "2001:db8::1");
    }

    #[test]
    fn bytes_beyond_ascii_are_escaped_in_a_target_and_nothing_else_is() {
        for (raw, sent) in
            [("/\u{e0}?q=\u{a0}", "/%C3%A0?q=%C2%A0"), ("/%c3%a0/a%2Fb?\"<|", "/%c3%a0/a%2Fb?\"<|")]
        {
            let mut outgoing = head(&[]);
            outgoing.set_target(raw.as_bytes());
            escape_target(&mut outgoing);
            assert_eq!(String::from_utf8_lossy(outgoing.target()), sent);
        }
    }

    #[test]
    fn only_the_own_pseudonym_is_a_loop() {
        let request = head(&[("Via", "1.0 other, 1.1 lintel-1 (comment)")]);
        assert!(is_loop(&request, "lintel-1"));
        assert!(!is_loop(&request, "lintel-2"));
    }
}
