//! The head of a request: its line, its fields, and the rules that decide about its body.

use super::parse::{copy_fields, explain, with_field_room};
use super::usual::take_request;
use crate::wire::body::Framing;
use crate::wire::head::{Head, Known, Method, Version};
use crate::wire::rules::{
    Limits, ParseHeadError, RequestFraming, check_method, content_length, is_authority, is_target,
};
use crate::wire::token::{is_token, list};

/// Parses the head that `bytes` begin with, if it is whole and written as nearly all are; says where it ends.
///
/// `None` says nothing about the head: `parse` judges it, which would take what is taken here in the same way.
pub fn parse_usual(bytes: &[u8], limits: Limits, head: &mut Head) -> Option<(RequestFraming, usize)> {
    let end = take_request(bytes, limits, head)?;
    host_rules(head).ok()?;
    Some((framing(head).ok()?, end))
}

/// Parses `bytes`, a head up to and with its empty line, into `head`.
pub fn parse(bytes: &[u8], limits: Limits, head: &mut Head) -> Result<RequestFraming, ParseHeadError> {
    head.clear();
    with_field_room(limits.fields, |room| {
        let mut request = httparse::Request::new(&mut []);
        match request.parse_with_uninit_headers(bytes, room) {
            Ok(httparse::Status::Complete(length)) if length == bytes.len() => {}
            Ok(_) => return Err(ParseHeadError::Malformed("the head ends inside a line")),
            Err(httparse::Error::Version) if !names_a_version(bytes) => {
                return Err(ParseHeadError::Malformed("the first line is not method, target and version"));
            }
            Err(error) => return Err(explain(error)),
        }
        let method = request.method.unwrap_or_default().as_bytes();
        let target = request.path.unwrap_or_default().as_bytes();
        check_method(method)?;
        if target.len() > limits.target {
            return Err(ParseHeadError::TargetTooLong);
        }
        head.version = if request.version == Some(0) { Version::Http10 } else { Version::Http11 };
        head.set_method(method);
        copy_fields(request.headers, head)?;
        host_rules(head)?;
        set_target(head, target)
    })?;
    framing(head)
}

/// Whether the first line is three words of which the last is an HTTP version, if not one that is spoken here.
fn names_a_version(bytes: &[u8]) -> bool {
    let line = bytes.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let mut words = line.split(|byte| *byte == b' ');
    let version = words.nth(2).unwrap_or_default();
    let is_version = matches!(version, [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
        if major.is_ascii_digit() && minor.is_ascii_digit());
    is_version && words.next().is_none()
}

/// Brings the four forms of a target (RFC 9112 section 3.2) to one: path and query, or `*`.
fn set_target(head: &mut Head, target: &[u8]) -> Result<(), ParseHeadError> {
    // CONNECT asks for a proxy of another kind; TRACE would show the client what only servers may see.
    if matches!(head.method(), Method::Connect | Method::Trace) {
        return Err(ParseHeadError::Method);
    }
    if !is_target(target) {
        return Err(ParseHeadError::Malformed("the target has a byte that no target has"));
    }
    match target {
        [b'/', ..] => head.set_target(target),
        b"*" if head.method() == Method::Options => head.set_target(target),
        _ => return absolute_form(head, target),
    }
    Ok(())
}

/// `http://host/path`: the host of the target counts and replaces the Host field (RFC 9112 section 3.2.2).
fn absolute_form(head: &mut Head, target: &[u8]) -> Result<(), ParseHeadError> {
    let wrong = ParseHeadError::Malformed("the target is neither a path nor an http URL");
    let scheme_end = target.windows(3).position(|piece| piece == b"://").ok_or(wrong)?;
    let (scheme, rest) = (&target[..scheme_end], &target[scheme_end + 3..]);
    if !scheme.eq_ignore_ascii_case(b"http") && !scheme.eq_ignore_ascii_case(b"https") {
        return Err(wrong);
    }
    let authority_end = rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(authority_end);
    if authority.is_empty() || !is_authority(authority) {
        return Err(ParseHeadError::Malformed(
            "the target's authority is empty, has user information or is no host",
        ));
    }
    head.set_known(Known::Host, authority);
    match path {
        [] if head.method() == Method::Options => head.set_target(b"*"),
        [b'/', ..] => head.set_target(path),
        _ => head.set_target(&[b"/", path].concat()),
    }
    Ok(())
}

/// Exactly one Host, which only HTTP/1.0 may leave out (RFC 9112 section 3.2).
fn host_rules(head: &Head) -> Result<(), ParseHeadError> {
    let mut hosts = head.all(Known::Host);
    let Some(host) = hosts.next() else {
        let may_lack = head.version == Version::Http10;
        return if may_lack { Ok(()) } else { Err(ParseHeadError::Malformed("Host is missing")) };
    };
    let second = hosts.next();
    if !is_authority(host) || second.is_some_and(|second| !is_authority(second)) {
        return Err(ParseHeadError::Malformed("Host has a byte that no host has"));
    }
    if second.is_some() { Err(ParseHeadError::Malformed("Host stands twice")) } else { Ok(()) }
}

/// RFC 9112 sections 6.1 to 6.3 and 9.3, and RFC 9110 section 10.1.1.
fn framing(head: &Head) -> Result<RequestFraming, ParseHeadError> {
    let length = content_length(head)?;
    let body = match transfer_encoding(head)? {
        true if length.is_some() => {
            return Err(ParseHeadError::Malformed("both Content-Length and Transfer-Encoding"));
        }
        true if head.version == Version::Http10 => {
            return Err(ParseHeadError::Malformed("Transfer-Encoding in HTTP/1.0"));
        }
        true => Framing::Chunked,
        false => length.filter(|length| *length > 0).map_or(Framing::Empty, Framing::Length),
    };
    let (mut close, mut keep_alive, mut upgrade) = (false, false, false);
    for option in head.all(Known::Connection).flat_map(list) {
        close |= option.eq_ignore_ascii_case(b"close");
        keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
        upgrade |= option.eq_ignore_ascii_case(b"upgrade");
        refuse_nomination(option)?;
    }
    let modern = head.version == Version::Http11;
    let expect_continue = expectation(head)? && modern && body != Framing::Empty;
    Ok(RequestFraming {
        body,
        keep_alive: !close && (modern || keep_alive),
        expect_continue,
        upgrade: upgrade && modern && head.has(Known::Upgrade),
    })
}

/// True for `chunked`; other codings are not known here.
fn transfer_encoding(head: &Head) -> Result<bool, ParseHeadError> {
    if !head.has(Known::TransferEncoding) {
        return Ok(false);
    }
    let mut codings = head.all(Known::TransferEncoding).flat_map(list);
    let is_chunked = |coding: &[u8]| coding.eq_ignore_ascii_case(b"chunked");
    match (codings.next(), codings.next()) {
        (Some(only), None) if is_chunked(only) && head.all(Known::TransferEncoding).count() == 1 => Ok(true),
        (Some(first), Some(_)) if !is_chunked(first) => Err(ParseHeadError::TransferCoding),
        (Some(only), None)
            if is_token(only) && !is_chunked(only) && !only.eq_ignore_ascii_case(b"identity") =>
        {
            Err(ParseHeadError::TransferCoding)
        }
        _ => Err(ParseHeadError::Malformed("Transfer-Encoding is not chunked")),
    }
}

fn expectation(head: &Head) -> Result<bool, ParseHeadError> {
    let mut continues = false;
    for expectation in head.all(Known::Expect) {
        if head.version == Version::Http11 && !expectation.eq_ignore_ascii_case(b"100-continue") {
            return Err(ParseHeadError::Expectation);
        }
        continues = true;
    }
    Ok(continues)
}

/// A client that has framing or routing fields taken out as hop-by-hop would change what the server sees.
fn refuse_nomination(option: &[u8]) -> Result<(), ParseHeadError> {
    match Known::of(option) {
        Known::Host | Known::ContentLength | Known::TransferEncoding => {
            Err(ParseHeadError::Malformed("Connection names a field that must not be removed"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMITS: Limits = Limits { head: 32768, fields: 100, target: 8192 };

    fn parse_text(text: &str) -> Result<(Head, RequestFraming), ParseHeadError> {
        let mut head = Head::new();
        parse(text.as_bytes(), LIMITS, &mut head).map(|framing| (head, framing))
    }

    /// Both ways to parse must say the same of a head that both take.
    fn parse_both(bytes: &[u8]) -> bool {
        let (mut usual, mut careful) = (Head::new(), Head::new());
        let Some((framing, end)) = parse_usual(bytes, LIMITS, &mut usual) else { return false };
        assert_eq!(parse(&bytes[..end], LIMITS, &mut careful), Ok(framing), "{}", bytes.escape_ascii());
        assert_eq!((usual.method_text(), usual.version), (careful.method_text(), careful.version));
        assert_eq!(usual.target(), careful.target());
        let fields = |head: &Head| -> Vec<u8> { head.lines().flatten().copied().collect() };
        assert_eq!(fields(&usual), fields(&careful));
        assert!(usual.iter().map(|field| field.known).eq(careful.iter().map(|field| field.known)));
        true
    }

    #[test]
    fn a_usual_head_is_taken_at_once_and_in_the_same_way() {
        for text in [
            "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /a?b HTTP/1.1\r\nhost: a\r\nX-Two: 2 and 3\r\nCONNECTION: close\r\n\r\nGET / HTTP/1.1\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
            "GET / HTTP/1.0\r\n\r\n",
            "DELETE / HTTP/1.1\r\nHost: a\r\nX-B: \u{e9}\r\n\r\n",
        ] {
            assert!(parse_both(text.as_bytes()), "{text:?}");
        }
        for text in [
            "GET / HTTP/1.1\r\nHost: a\r\n\r",
            "GET / HTTP/1.1\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\n\n",
            "GET / HTTP/1.1\r\nHost: a\r\n\n",
            "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost:a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost:  a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a \r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nX-Empty:\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n",
            "GET / HTTP/1.1\r\n\r\n",
            "GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n",
            "TRACE / HTTP/1.1\r\nHost: a\r\n\r\n",
            "PURGE / HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET\0/ HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /\u{e9} HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: x\r\n\r\n",
        ] {
            assert!(!parse_both(text.as_bytes()), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_taken_at_once_the_careful_path_takes_alike(
            line in "(GET|POST|PURGE) /[ -~]{0,5} HTTP/1.[012]", ending in "\r?\n",
            fields in prop::collection::vec("(Host|content-length|X-A|Connection|X) ?:[ \t]{0,2}[0-9a-z\\x00-\\x1f, ]{0,6}", 0..4),
            last in "(\r?\n){0,2}", rest in "[a\r\n]{0,3}",
        ) {
            let text = [&[line][..], &fields].concat().join(&ending) + &ending + &last + &rest;
            parse_both(text.as_bytes());
        }

        #[test]
        fn whatever_one_byte_of_a_usual_head_becomes_both_ways_read_it_alike(at in any::<prop::sample::Index>(), byte: u8) {
            let mut bytes = b"GET /a/b?c HTTP/1.1\r\nHost: a.b:80\r\nX-Custom: some value\r\nconnection: close\r\n\r\n".to_vec();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            parse_both(&bytes);
        }
    }

    #[test]
    fn a_plain_request_is_taken_as_it_is() {
        let (head, framing) =
            parse_text("GET /a?b=%20 HTTP/1.1\r\nHost: x\r\nx-Custom:  v \r\n\r\n").unwrap();
        assert_eq!((head.method_text(), head.target()), ("GET", b"/a?b=%20".as_slice()));
        let fields: Vec<_> = head.iter().map(|f| (f.name, f.value)).collect();
        assert_eq!(fields, [("Host", b"x".as_slice()), ("x-Custom", b"v")]);
        assert_eq!(framing, RequestFraming { keep_alive: true, ..Default::default() });
    }

    #[test]
    fn the_absolute_form_gives_host_and_path() {
        for (target, path) in [("http://b.c/x?y", "/x?y"), ("HTTP://b.c", "/"), ("http://b.c?q", "/?q")] {
            let (head, _) = parse_text(&format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n")).unwrap();
            assert_eq!(head.target(), path.as_bytes());
            assert_eq!(head.get(Known::Host), Some(b"b.c".as_slice()));
        }
        assert!(parse_text("GET http://u@b/ HTTP/1.1\r\nHost: a\r\n\r\n").is_err());
        assert!(parse_text("GET ftp://b/ HTTP/1.1\r\nHost: a\r\n\r\n").is_err());
    }

    #[test]
    fn what_frames_a_body_in_two_ways_is_refused() {
        for fields in [
            "Content-Length: 3\r\nContent-Length: 3",
            "Content-Length: 3, 3",
            "Content-Length: +3",
            "Content-Length: -1",
            "Content-Length: 0x3",
            "Content-Length:",
            "Content-Length: 99999999999999999999",
            "Content-Length: 3\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: chunked, chunked",
            "Transfer-Encoding: gzip, chunked",
            "Transfer-Encoding: chunked, identity",
            "Transfer-Encoding: identity",
            "Transfer-Encoding: xchunked",
            "Transfer-Encoding:",
            "Transfer-Encoding : chunked",
            " Transfer-Encoding: chunked",
            "Connection: content-length\r\nContent-Length: 3",
        ] {
            assert!(
                parse_text(&format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n")).is_err(),
                "{fields}"
            );
        }
        let (_, framing) =
            parse_text("POST / HTTP/1.1\r\nHost: a\r\nTransfer-encoding: Chunked\r\n\r\n").unwrap();
        assert_eq!(framing.body, Framing::Chunked);
    }
}
