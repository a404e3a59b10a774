//! The head of a response: its line, its fields, and the rules that decide about its body.

use super::parse::{copy_fields, explain, with_field_room};
use super::usual::take_response;
use crate::wire::body::Framing;
use crate::wire::head::{Head, Known, Method, Version};
use crate::wire::rules::{ParseHeadError, RESPONSE_LIMITS, ResponseFraming, content_length};
use crate::wire::token::list;

/// Parses the head that `bytes` begin with, if it is whole and written as nearly all are; says where it ends.
///
/// `None` says nothing about the head: `parse` judges it, which would take what is taken here in the same way.
pub fn parse_usual(bytes: &[u8], method: Method, head: &mut Head) -> Option<(ResponseFraming, usize)> {
    let end = take_response(bytes, RESPONSE_LIMITS, head)?;
    Some((framing(head, method).ok()?, end))
}

/// Parses `bytes`, a head up to and with its empty line, as the answer to a request by `method`.
pub fn parse(bytes: &[u8], method: Method, head: &mut Head) -> Result<ResponseFraming, ParseHeadError> {
    head.clear();
    with_field_room(RESPONSE_LIMITS.fields, |room| {
        let mut response = httparse::Response::new(&mut []);
        let parser = httparse::ParserConfig::default();
        match parser.parse_response_with_uninit_headers(&mut response, bytes, room) {
            Ok(httparse::Status::Complete(length)) if length == bytes.len() => {}
            Ok(_) => return Err(ParseHeadError::Malformed("the head ends inside a line")),
            Err(error) => return Err(explain(error)),
        }
        head.version = if response.version == Some(0) { Version::Http10 } else { Version::Http11 };
        head.status = response.code.unwrap_or_default();
        head.set_reason(response.reason.unwrap_or_default().as_bytes());
        copy_fields(response.headers, head)
    })?;
    if !(100..=999).contains(&head.status) {
        return Err(ParseHeadError::Malformed("the status is below 100"));
    }
    framing(head, method)
}

/// RFC 9112 sections 6.3 and 9.3.
fn framing(head: &mut Head, method: Method) -> Result<ResponseFraming, ParseHeadError> {
    let length = match content_length(head) {
        Ok(length) => length,
        Err(_) => {
            collapse_equal_lengths(head);
            content_length(head)?
        }
    };
    let coded = head.has(Known::TransferEncoding);
    if coded {
        if length.is_some() {
            return Err(ParseHeadError::Malformed("both Content-Length and Transfer-Encoding"));
        }
        if head.version == Version::Http10 {
            return Err(ParseHeadError::Malformed("Transfer-Encoding in HTTP/1.0"));
        }
        let mut codings = head.all(Known::TransferEncoding).flat_map(list);
        match (codings.next(), codings.next()) {
            (Some(only), None) if only.eq_ignore_ascii_case(b"chunked") => {}
            _ => return Err(ParseHeadError::TransferCoding),
        }
    }
    let bodyless = method == Method::Head || head.status < 200 || matches!(head.status, 204 | 304);
    let body = match length {
        _ if bodyless => Framing::Empty,
        _ if coded => Framing::Chunked,
        Some(0) => Framing::Empty,
        Some(length) => Framing::Length(length),
        None => Framing::Close,
    };
    let (mut close, mut keep_alive) = (false, false);
    for value in head.all(Known::Connection) {
        match value {
            b"keep-alive" => keep_alive = true,
            b"close" => close = true,
            _ => list(value).for_each(|option| {
                close |= option.eq_ignore_ascii_case(b"close");
                keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
            }),
        }
    }
    let stays = !close && (head.version == Version::Http11 || keep_alive) && body != Framing::Close;
    let keep_alive_timeout = head.get(Known::KeepAlive).and_then(timeout_hint);
    Ok(ResponseFraming { body, keep_alive: stays, keep_alive_timeout })
}

/// Lengths that agree are one (RFC 9110 section 8.6); servers behind several layers send such.
fn collapse_equal_lengths(head: &mut Head) {
    let mut values = head.all(Known::ContentLength);
    let Some(first) = values.next() else { return };
    let (mut repeated, mut equal) = (false, true);
    for value in values {
        repeated = true;
        equal &= value == first;
    }
    if repeated && equal {
        let value = first.to_vec();
        head.set_known(Known::ContentLength, &value);
    }
}

/// `timeout=5, max=100` -> 5.
fn timeout_hint(value: &[u8]) -> Option<u32> {
    let timeout = list(value).find_map(|parameter| parameter.strip_prefix(b"timeout="))?;
    std::str::from_utf8(timeout).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse_text(text: &str, method: Method) -> Result<ResponseFraming, ParseHeadError> {
        parse(text.as_bytes(), method, &mut Head::new())
    }

    #[test]
    fn framing_follows_method_status_and_fields() {
        let cases = [
            ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", Method::Get, Framing::Length(3)),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 3\r\ncontent-length: 3\r\n\r\n",
                Method::Get,
                Framing::Length(3),
            ),
            ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", Method::Head, Framing::Empty),
            ("HTTP/1.1 304 NM\r\nContent-Length: 3\r\n\r\n", Method::Get, Framing::Empty),
            ("HTTP/1.1 200\r\nTransfer-Encoding: chunked\r\n\r\n", Method::Get, Framing::Chunked),
            ("HTTP/1.1 200 OK\r\n\r\n", Method::Get, Framing::Close),
        ];
        for (text, method, body) in cases {
            assert_eq!(parse_text(text, method).unwrap().body, body, "{text}");
        }
        let hint = parse_text("HTTP/1.1 204 N\r\nKeep-Alive: max=9, timeout=5\r\n\r\n", Method::Get).unwrap();
        assert_eq!((hint.keep_alive, hint.keep_alive_timeout), (true, Some(5)));
    }

    /// Both ways to parse must say the same of a head that both take.
    fn both(bytes: &[u8]) -> Option<usize> {
        let (mut usual, mut careful) = (Head::new(), Head::new());
        let (framing, end) = parse_usual(bytes, Method::Get, &mut usual)?;
        assert_eq!(parse(&bytes[..end], Method::Get, &mut careful), Ok(framing), "{}", bytes.escape_ascii());
        assert_eq!(
            (usual.status, usual.version, usual.reason()),
            (careful.status, careful.version, careful.reason())
        );
        assert!(usual.lines().flatten().eq(careful.lines().flatten()));
        assert!(usual.iter().map(|field| field.known).eq(careful.iter().map(|field| field.known)));
        Some(end)
    }

    proptest! {
        #[test]
        fn whatever_is_taken_at_once_the_careful_path_takes_alike(
            line in "HTTP/[12]\\.[012] [0-9]{2,4}( [ -~\\x00\t\u{e9}]{0,8})?", ending in "\r?\n",
            fields in prop::collection::vec("(Content-Length|server|X-A|Connection|KEEP-ALIVE|X_) ?:[ \t]{0,2}[0-9a-z\\x00-\\x1f,= ]{0,20}", 0..4),
            last in "(\r?\n){0,2}", rest in "[a\r\n]{0,3}",
        ) {
            let text = [&[line][..], &fields].concat().join(&ending) + &ending + &last + &rest;
            both(text.as_bytes());
        }

        #[test]
        fn whatever_one_byte_of_a_usual_head_becomes_both_ways_read_it_alike(at in any::<prop::sample::Index>(), byte: u8) {
            let mut bytes = b"HTTP/1.1 200 OK then\r\nContent-Length: 3\r\nX-Custom: some value\r\nconnection: close\r\n\r\n".to_vec();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            both(&bytes);
        }
    }

    #[test]
    fn a_usual_head_is_taken_at_once_and_in_the_same_way() {
        for text in [
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nserver: a b\r\n\r\nabc",
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\ncontent-length: 3\r\n\r\nabc",
            "HTTP/1.0 404 Not Found\r\n\r\n",
            "HTTP/1.1 204 \r\nDate: x\r\n\r\n",
        ] {
            assert_eq!(both(text.as_bytes()), text.find("\r\n\r\n").map(|at| at + 4), "{text:?}");
        }
        for text in [
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n",
            "HTTP/1.1 200 OK\nContent-Length: 3\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 3\n\n",
            "\r\nHTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nX:y\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n",
        ] {
            assert_eq!(both(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn an_answer_that_can_be_read_in_two_ways_is_refused() {
        for text in [
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n",
            "HTTP/1.1 99 OK\r\n\r\n",
            "HTTP/2.0 200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
        ] {
            assert!(parse_text(text, Method::Get).is_err(), "{text}");
        }
    }
}
