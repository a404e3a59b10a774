//! What a request is hashed by: XXH64 of the client's address, its target, or a header, cookie or query value.
//!
//! Values are compared as bytes, with no decoding, so that every front door sees the same key in the same request. It
//! also reads cookies and query values for `sticky`.

use std::net::IpAddr;

use xxhash_rust::xxh64::xxh64;

use super::spec::HashKey;
use crate::wire::head::{Head, Known};

/// The hash of what `key` names; of the client's address where the request lacks it or it is empty.
pub fn hash(key: &HashKey, client: IpAddr, head: &Head) -> u64 {
    let value = match key {
        HashKey::ClientIp => None,
        HashKey::Uri => Some(head.target()),
        HashKey::Header(name) => head.all_named(name).next(),
        HashKey::Cookie(name) => cookie(head, name),
        HashKey::Query(name) => query(head.target(), name),
    };
    match value.filter(|value| !value.is_empty()) {
        Some(value) => xxh64(value, 0),
        // An IPv4 client is the same one when a dual-stack socket shows it as ::ffff:a.b.c.d.
        None => match client.to_canonical() {
            IpAddr::V4(address) => xxh64(&address.octets(), 0),
            IpAddr::V6(address) => xxh64(&address.octets(), 0),
        },
    }
}

/// The value of the first cookie of this name (RFC 6265 section 4.2.1), without the quotes it may stand in. Names are
/// case-sensitive; a pair without `=` names no cookie.
pub fn cookie<'a>(head: &'a Head, name: &str) -> Option<&'a [u8]> {
    let pairs = head.all(Known::Cookie).flat_map(|field| field.split(|byte| *byte == b';'));
    let mut pairs = pairs.filter_map(split_pair);
    let (_, value) = pairs.find(|(found, _)| found.trim_ascii() == name.as_bytes())?;
    let value = value.trim_ascii();
    Some(value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")).unwrap_or(value))
}

/// The value of the first query parameter of this name, as it stands in the target.
pub fn query<'a>(target: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let start = memchr::memchr(b'?', target)? + 1;
    let mut pairs = target.get(start..)?.split(|byte| *byte == b'&').filter_map(split_pair);
    pairs.find(|(found, _)| *found == name.as_bytes()).map(|(_, value)| value)
}

fn split_pair(pair: &[u8]) -> Option<(&[u8], &[u8])> {
    let equals = memchr::memchr(b'=', pair)?;
    Some((pair.get(..equals)?, pair.get(equals + 1..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(target: &str, fields: &[(&str, &str)]) -> Head {
        let mut head = Head::new();
        head.set_target(target.as_bytes());
        fields.iter().for_each(|(name, value)| head.add(name, value.as_bytes()));
        head
    }

    #[test]
    fn cookies_are_read_as_clients_write_them() {
        let head = head(
            "/",
            &[
                ("cookie", "a=1; lintel=x=y==; \tq=\"quoted\";empty=;flag"),
                ("Cookie", "LINTEL=no; later=2;a=3"),
            ],
        );
        let read = |name| cookie(&head, name).map(String::from_utf8_lossy);
        assert_eq!(read("a").as_deref(), Some("1"));
        assert_eq!(read("lintel").as_deref(), Some("x=y=="));
        assert_eq!(read("q").as_deref(), Some("quoted"));
        assert_eq!(read("empty").as_deref(), Some(""));
        assert_eq!(read("later").as_deref(), Some("2"));
        assert_eq!((read("flag"), read("lint"), read("")), (None, None, None));
    }

    #[test]
    fn query_values_are_read_without_decoding() {
        let read = |target: &'static str| query(target.as_bytes(), "id").map(String::from_utf8_lossy);
        assert_eq!(read("/a?x=1&id=%41+b=c&id=2").as_deref(), Some("%41+b=c"));
        assert_eq!(read("/a?id=").as_deref(), Some(""));
        assert_eq!(read("/a?b?id=1&id=3").as_deref(), Some("3"));
        for target in ["/a", "/id=1", "/a?", "/a?id", "/a?xid=1", "/a?ID=1", "*"] {
            assert_eq!(read(target), None, "{target}");
        }
    }

    #[test]
    fn a_key_depends_on_what_it_names_alone() {
        let client = "10.0.0.1".parse().unwrap();
        let (one, other) =
            (head("/a?u=7", &[("X-User", "7"), ("Cookie", "u=7")]), head("/b?u=8", &[("x-user", "7")]));
        for (key, is_same) in [
            (HashKey::ClientIp, true),
            (HashKey::Uri, false),
            (HashKey::Header("x-uSER".into()), true),
            (HashKey::Cookie("u".into()), false),
            (HashKey::Query("u".into()), false),
        ] {
            assert_eq!(hash(&key, client, &one) == hash(&key, client, &other), is_same, "{key:?}");
        }
        assert_eq!(hash(&HashKey::Query("u".into()), client, &one), xxh64(b"7", 0));
    }

    #[test]
    fn what_is_missing_or_empty_falls_back_to_the_client_in_either_family() {
        let empty = head("/?u=", &[("X-User", ""), ("Cookie", "u=")]);
        let mapped = "::ffff:10.0.0.1".parse().unwrap();
        let client: IpAddr = "10.0.0.1".parse().unwrap();
        for key in [
            HashKey::ClientIp,
            HashKey::Header("X-User".into()),
            HashKey::Header("missing".into()),
            HashKey::Cookie("u".into()),
            HashKey::Query("u".into()),
        ] {
            assert_eq!(hash(&key, mapped, &empty), xxh64(&[10, 0, 0, 1], 0), "{key:?}");
            assert_ne!(hash(&key, client, &empty), hash(&key, "10.0.0.2".parse().unwrap(), &empty));
        }
    }
}
