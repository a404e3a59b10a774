//! gRPC's health checking protocol, `grpc.health.v1.Health/Check`: the request's message, and what an answer means.
//!
//! Its two messages have one field each, so they are written and read here without a library for protobuf.

use std::fmt;

use super::active::{Expected, Failure};
use super::http2::{Answer, Fields, readable};
use crate::wire::grpc::{Dialect, Status};

/// Path of the method.
pub const METHOD: &str = "/grpc.health.v1.Health/Check";

/// Bytes before each message: whether it is compressed, and its length.
const PREFIX: usize = 5;

/// What a server says of a service. Only `SERVING` is well, so that is not among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unwell {
    Unknown,
    NotServing,
    ServiceUnknown,
    /// A number that the protocol does not have.
    Other(u64),
}

impl fmt::Display for Unwell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("UNKNOWN"),
            Self::NotServing => f.write_str("NOT_SERVING"),
            Self::ServiceUnknown => f.write_str("SERVICE_UNKNOWN"),
            Self::Other(number) => write!(f, "{number}, which is no serving status"),
        }
    }
}

/// The body of a request: HealthCheckRequest with its field 1, the service. A service has at most 16 KiB.
pub fn request(service: &str) -> Vec<u8> {
    let mut message = Vec::with_capacity(service.len() + 4);
    // As protobuf has it, an empty text is left out.
    if !service.is_empty() {
        message.push(1 << 3 | 2);
        let mut length = service.len();
        while length >= 0x80 {
            message.push(length as u8 | 0x80);
            length >>= 7;
        }
        message.push(length as u8);
        message.extend_from_slice(service.as_bytes());
    }
    let mut body = Vec::with_capacity(PREFIX + message.len());
    body.push(0);
    body.extend_from_slice(&(message.len() as u32).to_be_bytes());
    body.extend_from_slice(&message);
    body
}

/// Whether a head says that a gRPC answer follows it.
pub fn begins_answer(head: &Fields) -> bool {
    head.content_type.as_deref().and_then(Dialect::of_content_type) == Some(Dialect::Grpc)
}

/// Whether an answer says `SERVING`.
pub fn verdict(answer: &Answer) -> Result<(), Failure> {
    let not_200 = || Failure::Status { status: answer.status, expected: Expected::Listed([200].into()) };
    // An answer without a message has its trailers in its head.
    let last = answer.trailers.as_ref().unwrap_or(&answer.head);
    let Some(code) = &last.grpc_status else {
        return Err(if answer.status == 200 { no_status(&answer.head) } else { not_200() });
    };
    // A number that nobody knows is UNKNOWN (gRPC's `statuscodes.md`).
    let status = Status::of_code(code).unwrap_or(Status::Unknown);
    if status != Status::Ok {
        let message = readable(&decoded(last.grpc_message.as_deref().unwrap_or_default()));
        return Err(Failure::Grpc { status, message });
    }
    if answer.status != 200 {
        return Err(not_200());
    }
    match serving(&answer.body).map_err(|why| Failure::NotGrpc(why.to_owned()))? {
        0 => Err(Failure::NotServing(Unwell::Unknown)),
        1 => Ok(()),
        2 => Err(Failure::NotServing(Unwell::NotServing)),
        3 => Err(Failure::NotServing(Unwell::ServiceUnknown)),
        other => Err(Failure::NotServing(Unwell::Other(other))),
    }
}

/// What a 200 without `grpc-status` is.
fn no_status(head: &Fields) -> Failure {
    let kind = head.content_type.as_deref().unwrap_or_default();
    Failure::NotGrpc(if begins_answer(head) {
        "answered without `grpc-status`".to_owned()
    } else if kind.is_empty() {
        "answered without a content type, so it is no gRPC".to_owned()
    } else {
        format!("answered `{}`, which is no gRPC", readable(kind))
    })
}

/// Field 1 of the one HealthCheckResponse of a body.
fn serving(body: &[u8]) -> Result<u64, &'static str> {
    let (prefix, message) = body.split_at_checked(PREFIX).ok_or("answered OK without a message")?;
    let [compressed, length @ ..] = prefix else { return Err("answered OK without a message") };
    if *compressed != 0 {
        return Err("answered a compressed message, which nobody asked for");
    }
    let length = length.try_into().map(u32::from_be_bytes).unwrap_or(u32::MAX);
    if usize::try_from(length) != Ok(message.len()) {
        return Err("answered something else than one whole message");
    }
    first_field(message).ok_or("answered a message that is no HealthCheckResponse")
}

/// The last value of field 1, a number; 0 where it is left out, as protobuf has it. Other fields are skipped.
fn first_field(mut message: &[u8]) -> Option<u64> {
    let mut value = 0;
    while !message.is_empty() {
        let tag = varint(&mut message)?;
        match (tag >> 3, tag & 7) {
            (1, 0) => value = varint(&mut message)?,
            (0 | 1, _) => return None,
            (_, 0) => drop(varint(&mut message)?),
            (_, 1) => message = message.get(8..)?,
            (_, 2) => {
                let length = usize::try_from(varint(&mut message)?).ok()?;
                message = message.get(length..)?;
            }
            (_, 5) => message = message.get(4..)?,
            _ => return None,
        }
    }
    Some(value)
}

/// A number in groups of seven bits, the lowest first.
fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// A `grpc-message` without its `%XX`; what is none stays as it is.
fn decoded(value: &[u8]) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value;
    while let Some((first, after)) = rest.split_first() {
        let pair = match after {
            [high, low, ..] if *first == b'%' => digit(*high).zip(digit(*low)),
            _ => None,
        };
        bytes.push(pair.map_or(*first, |(high, low)| high << 4 | low));
        rest = if pair.is_some() { after.get(2..).unwrap_or_default() } else { after };
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(body: &[u8], grpc_status: &str) -> Answer {
        let trailers = Fields { grpc_status: Some(grpc_status.into()), ..Fields::default() };
        Answer { status: 200, head: Fields::default(), body: body.to_vec(), trailers: Some(trailers) }
    }

    fn reason(answer: &Answer) -> String {
        verdict(answer).unwrap_err().to_string()
    }

    #[test]
    fn a_request_names_its_service() {
        assert_eq!(request(""), [0, 0, 0, 0, 0]);
        assert_eq!(request("a.B"), b"\0\0\0\0\x05\x0a\x03a.B");
        let long = request(&"x".repeat(300));
        assert_eq!(long[..8], [0, 0, 0, 1, 47, 0x0a, 0xac, 0x02]);
        assert_eq!(long.len(), PREFIX + 303);
    }

    #[test]
    fn only_serving_is_well() {
        verdict(&answer(b"\0\0\0\0\x02\x08\x01", "0")).unwrap();
        for (body, said) in [
            (b"\0\0\0\0\0".as_slice(), "answered UNKNOWN"),
            (b"\0\0\0\0\x02\x08\x00", "answered UNKNOWN"),
            (b"\0\0\0\0\x02\x08\x02", "answered NOT_SERVING"),
            (b"\0\0\0\0\x02\x08\x03", "answered SERVICE_UNKNOWN"),
            (b"\0\0\0\0\x03\x08\x80\x01", "answered 128, which is no serving status"),
            (b"\0\0\0\0\x04\x08\x01\x08\x02", "answered NOT_SERVING"),
        ] {
            assert_eq!(reason(&answer(body, "0")), said);
        }
    }

    #[test]
    fn other_fields_are_skipped() {
        let message = b"\x10\x96\x01\x19\0\0\0\0\0\0\0\0\x22\x02ab\x2d\0\0\0\0\x08\x01";
        let body = [&[0, 0, 0, 0, message.len() as u8][..], message].concat();
        verdict(&answer(&body, "0")).unwrap();
    }

    #[test]
    fn what_is_no_message_is_told() {
        for (body, said) in [
            (b"".as_slice(), "answered OK without a message"),
            (b"\0\0\0", "answered OK without a message"),
            (b"\x01\0\0\0\x02\x08\x01", "answered a compressed message, which nobody asked for"),
            (b"\0\0\0\0\x03\x08\x01", "answered something else than one whole message"),
            (b"\0\0\0\0\0\0\0\0\0\0", "answered something else than one whole message"),
            (b"\0\0\0\0\x01\x08", "answered a message that is no HealthCheckResponse"),
            (b"\0\0\0\0\x02\x0b\x01", "answered a message that is no HealthCheckResponse"),
            (b"\0\0\0\0\x02\x12\x7f", "answered a message that is no HealthCheckResponse"),
            (
                b"\0\0\0\0\x0c\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
                "answered a message that is no HealthCheckResponse",
            ),
        ] {
            assert_eq!(reason(&answer(body, "0")), said, "{body:?}");
        }
    }

    #[test]
    fn a_status_comes_with_its_name_and_its_message() {
        let mut refused = answer(b"", "12");
        assert_eq!(reason(&refused), "gRPC status UNIMPLEMENTED");
        refused.trailers.as_mut().unwrap().grpc_message = Some(b"no %C3%BC 100% %zz%0A%1b[31m".to_vec());
        assert_eq!(reason(&refused), "gRPC status UNIMPLEMENTED: no ü 100% %zz\u{fffd}\u{fffd}[31m");
        assert_eq!(reason(&answer(b"", "99")), "gRPC status UNKNOWN");
    }

    #[test]
    fn what_is_no_grpc_is_told() {
        let mut page = Answer { status: 404, head: Fields::default(), body: Vec::new(), trailers: None };
        assert_eq!(reason(&page), "status 404, expected 200");
        page.status = 200;
        assert_eq!(reason(&page), "answered without a content type, so it is no gRPC");
        page.head.content_type = Some(b"text/html; charset=utf-8".to_vec());
        assert_eq!(reason(&page), "answered `text/html; charset=utf-8`, which is no gRPC");
        page.head.content_type = Some(b"application/grpc+proto".to_vec());
        assert_eq!(reason(&page), "answered without `grpc-status`");
        let bad = Answer { status: 503, ..answer(b"\0\0\0\0\x02\x08\x01", "0") };
        assert_eq!(reason(&bad), "status 503, expected 200");
    }
}
