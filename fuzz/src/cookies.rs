//! Cookies, query values and the session ids of Socket.IO, against slow readings; and the sticky cookie both ways.

use std::sync::Arc;

use lintel::pool::key::{cookie, query};
use lintel::pool::spec::{CookieSpec, SameSite};
use lintel::pool::sticky::socket_io::{
    LONGEST_HANDSHAKE, Learned, handshake_of_target, is_handshake, learn_from_body, sid_of_target,
};
use lintel::pool::sticky::{CookieSticky, Link, StickyKey};
use lintel::wire::head::{Head, Known};

/// The lines of the input: Cookie fields; each is also a target and a body.
pub fn check(input: &[u8]) {
    let lines: Vec<&[u8]> = input.split(|byte| *byte == b'\n').collect();
    let mut head = Head::new();
    for line in &lines {
        let value: Vec<u8> = line.iter().copied().filter(|byte| !matches!(byte, b'\r' | 0)).collect();
        head.add_known(Known::Cookie, value.trim_ascii());
    }
    for name in ["lintel", "a", "", "sid"] {
        assert_eq!(cookie(&head, name), reference_cookie(&head, name).as_deref(), "cookie {name}");
    }
    lines.iter().for_each(|line| check_target(line));
    check_body(input);
    check_sticky(&head, input);
}

fn reference_cookie(head: &Head, name: &str) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    for (_, value) in crate::heads::fields(head) {
        text.extend_from_slice(&value);
        text.push(b';');
    }
    for pair in text.split(|byte| *byte == b';') {
        let Some(equals) = pair.iter().position(|byte| *byte == b'=') else { continue };
        if pair[..equals].trim_ascii() == name.as_bytes() {
            let value = pair[equals + 1..].trim_ascii();
            let is_quoted = value.len() >= 2 && value[0] == b'"' && value[value.len() - 1] == b'"';
            return Some(if is_quoted { value[1..value.len() - 1].to_vec() } else { value.to_vec() });
        }
    }
    None
}

fn reference_query(target: &[u8], name: &str) -> Option<Vec<u8>> {
    let text = target.iter().map(|byte| char::from(*byte)).collect::<String>();
    let (_, query) = text.split_once('?')?;
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let value = pairs.filter(|(found, _)| *found == name).map(|(_, value)| value).next()?;
    Some(value.chars().map(|character| character as u8).collect())
}

fn check_target(target: &[u8]) {
    for name in ["EIO", "sid", "transport", ""] {
        assert_eq!(query(target, name), reference_query(target, name).as_deref(), "query {name}");
    }
    let sid = sid_of_target(target);
    let wanted = reference_query(target, "sid").filter(|sid| !sid.is_empty());
    let engine_io = reference_query(target, "EIO").is_some();
    assert_eq!(sid.is_some(), engine_io && wanted.is_some());
    if let (Some(sid), Some(wanted)) = (&sid, &wanted) {
        let decoded: Vec<u8> = percent_decoded(wanted);
        assert_eq!(**sid, *decoded);
    }
    assert!(sid.is_none() || !is_handshake(target), "a session and a handshake at once");
    assert_eq!(is_handshake(target), handshake_of_target(target).is_some());
}

fn percent_decoded(text: &[u8]) -> Vec<u8> {
    let digit = |at: usize| text.get(at).and_then(|byte| char::from(*byte).to_digit(16));
    let mut decoded = Vec::new();
    let mut at = 0;
    while at < text.len() {
        match (text[at], digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                decoded.push((high * 16 + low) as u8);
                at += 3;
            }
            (byte, ..) => {
                decoded.push(byte);
                at += 1;
            }
        }
    }
    decoded
}

/// What was learnt from the first bytes stays so with more of them, and nothing is missed by giving up early.
fn check_body(body: &[u8]) {
    let body = &body[..body.len().min(LONGEST_HANDSHAKE)];
    let whole = learn_from_body(body);
    for end in 0..body.len() {
        match learn_from_body(&body[..end]) {
            Learned::NeedMore => {}
            // Whoever gave up reads no more: with more bytes there must not have been a session.
            Learned::NotHandshake => {
                assert!(!matches!(whole, Learned::Learn { .. }), "given up after {end} bytes, too early");
            }
            early => assert_eq!(early, whole, "learnt from {end} bytes and changed later"),
        }
    }
    if let Learned::Learn { sid, ttl } = whole {
        assert!((1..=128).contains(&sid.len()) && (1..=86_400).contains(&ttl.as_secs()));
    }
}

/// A cookie that was given out is found again among whatever else the client sends, and names no other server.
fn check_sticky(head: &Head, input: &[u8]) {
    let Some(key) = StickyKey::of_bytes(b"a key of the tests, long enough") else { return };
    let spec = CookieSpec { cookie: "lintel".into(), ttl: None, same_site: SameSite::Lax, secret: None };
    let sticky = CookieSticky::build(&spec, Arc::from("api"), &key);
    let identity = String::from_utf8_lossy(&input[..input.len().min(60)]).into_owned();
    let token = sticky.token(&identity);
    assert!(token.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(byte)));
    assert_ne!(token, sticky.token(&format!("{identity}.")));
    let field = sticky.field(&token, Link::Tls);
    let (pair, _) = field.split_once(';').unwrap_or_default();
    let mut again = Head::new();
    again.add_known(Known::Cookie, pair.as_bytes());
    let others: Vec<_> = head.all(Known::Cookie).map(<[u8]>::to_vec).collect();
    others.iter().for_each(|value| again.add_known(Known::Cookie, value));
    assert_eq!(cookie(&again, sticky.name()), Some(&token[..]));
}
