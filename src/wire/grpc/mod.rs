//! What is particular to gRPC on the wire: content types, statuses, deadlines, and the bodies of gRPC-Web.
//!
//! Pure functions over bytes. Messages are neither framed nor read; that a call ends with trailers is the business of
//! the drivers.

use std::borrow::Cow;

use crate::wire::token::is_token;

pub mod status;
pub mod timeout;
pub mod web;

pub use status::Status;

const GRPC: &str = "application/grpc";
const WEB_BINARY: &str = "application/grpc-web";
const WEB_TEXT: &str = "application/grpc-web-text";

/// How gRPC is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// As it is: HTTP/2 with trailers.
    Grpc,
    /// gRPC-Web: any HTTP, the trailers as a last frame of the body.
    WebBinary,
    /// gRPC-Web whose body is base64 besides, for clients that can only read text.
    WebText,
}

impl Dialect {
    /// The dialect that a `content-type` field names; `None` if it is no gRPC.
    pub fn of_content_type(value: &[u8]) -> Option<Self> {
        split(value).map(|(dialect, _)| dialect)
    }

    /// Whether it is one of the two of browsers.
    pub fn is_web(self) -> bool {
        self != Self::Grpc
    }

    /// Its `content-type` without a suffix.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Grpc => GRPC,
            Self::WebBinary => WEB_BINARY,
            Self::WebText => WEB_TEXT,
        }
    }
}

/// The `content-type` of a request as a gRPC server expects it: `application/grpc-web-text+proto` becomes
/// `application/grpc+proto`. Parameters are dropped. What is gRPC already stays as it is; `None` if it is no gRPC.
pub fn request_content_type(from_client: &[u8]) -> Option<Cow<'_, [u8]>> {
    convert(Dialect::Grpc, from_client)
}

/// The `content-type` of a response for a client of `dialect`: `application/grpc+proto` becomes
/// `application/grpc-web+proto`. What is of this dialect already stays as it is. `None` if the server's is no gRPC:
/// then neither is its body.
pub fn response_content_type(dialect: Dialect, from_server: &[u8]) -> Option<Cow<'_, [u8]>> {
    convert(dialect, from_server)
}

fn convert(to: Dialect, value: &[u8]) -> Option<Cow<'_, [u8]>> {
    let (from, suffix) = split(value)?;
    if from == to {
        return Some(Cow::Borrowed(value));
    }
    Some(Cow::Owned([to.content_type().as_bytes(), suffix].concat()))
}

/// The dialect and the suffix, which is empty or begins with `+`.
fn split(value: &[u8]) -> Option<(Dialect, &[u8])> {
    let essence = value.split(|byte| *byte == b';').next()?.trim_ascii();
    let plus = essence.iter().position(|byte| *byte == b'+').unwrap_or(essence.len());
    let (name, suffix) = essence.split_at_checked(plus)?;
    // What follows the plus is given to the server as it came, so it must be no more than a word.
    if !suffix.is_empty() && !is_token(suffix) {
        return None;
    }
    let dialects = [Dialect::Grpc, Dialect::WebBinary, Dialect::WebText];
    let dialect =
        dialects.into_iter().find(|dialect| name.eq_ignore_ascii_case(dialect.content_type().as_bytes()))?;
    Some((dialect, suffix))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn content_types_name_dialects() {
        for (value, dialect) in [
            ("application/grpc", Dialect::Grpc),
            ("application/grpc+proto", Dialect::Grpc),
            ("application/grpc+json", Dialect::Grpc),
            ("application/grpc+", Dialect::Grpc),
            ("application/grpc;charset=utf-8", Dialect::Grpc),
            ("application/grpc+proto ; a=b", Dialect::Grpc),
            ("Application/GRPC+Proto", Dialect::Grpc),
            (" application/grpc ", Dialect::Grpc),
            ("application/grpc-web", Dialect::WebBinary),
            ("application/grpc-web+proto", Dialect::WebBinary),
            ("application/grpc-WEB;x", Dialect::WebBinary),
            ("application/grpc-web-text", Dialect::WebText),
            ("application/grpc-web-text+proto", Dialect::WebText),
            ("application/grpc-web-text;charset=utf-8", Dialect::WebText),
        ] {
            assert_eq!(Dialect::of_content_type(value.as_bytes()), Some(dialect), "{value}");
        }
        for value in [
            "",
            ";",
            "application/grpcx",
            "application/grp",
            "application/grpc-",
            "application/grpc-websocket",
            "application/grpc-web-texts",
            "application/grpc-web-text-x",
            "application/grpc proto",
            "application/grpc+a b",
            "application/grpc+proto, application/grpc",
            "application/json",
            "application/x; application/grpc",
            "text/application/grpc",
        ] {
            assert_eq!(Dialect::of_content_type(value.as_bytes()), None, "{value}");
        }
    }

    #[test]
    fn requests_become_those_of_grpc() {
        for (from, to) in [
            ("application/grpc-web", "application/grpc"),
            ("application/grpc-web+proto", "application/grpc+proto"),
            ("application/grpc-web-text+json; charset=utf-8", "application/grpc+json"),
            ("Application/gRPC-Web+Proto", "application/grpc+Proto"),
            ("application/grpc+proto;a=b", "application/grpc+proto;a=b"),
        ] {
            assert_eq!(request_content_type(from.as_bytes()).as_deref(), Some(to.as_bytes()), "{from}");
        }
        assert_eq!(request_content_type(b"application/json"), None);
    }

    #[test]
    fn responses_become_those_of_the_dialect() {
        for (dialect, from, to) in [
            (Dialect::WebBinary, "application/grpc", "application/grpc-web"),
            (Dialect::WebBinary, "application/grpc+proto", "application/grpc-web+proto"),
            (Dialect::WebText, "application/grpc+proto; a=b", "application/grpc-web-text+proto"),
            (Dialect::WebText, "application/grpc-web", "application/grpc-web-text"),
            (Dialect::Grpc, "application/grpc+json", "application/grpc+json"),
        ] {
            let made = response_content_type(dialect, from.as_bytes());
            assert_eq!(made.as_deref(), Some(to.as_bytes()), "{from}");
        }
        assert_eq!(response_content_type(Dialect::WebText, b"text/html"), None);
    }

    proptest! {
        #[test]
        fn any_bytes_convert_or_not(value in proptest::collection::vec(any::<u8>(), 0..64)) {
            Dialect::of_content_type(&value);
        }

        #[test]
        fn what_is_converted_is_of_the_dialect(suffix in "(\\+[a-z0-9.-]{0,8})?", rest in "( ?;[ -~]{0,8})?") {
            let dialects = [Dialect::Grpc, Dialect::WebBinary, Dialect::WebText];
            for (from, to) in dialects.into_iter().flat_map(|from| dialects.map(|to| (from, to))) {
                let value = format!("{}{suffix}{rest}", from.content_type());
                let made = response_content_type(to, value.as_bytes()).expect("gRPC");
                prop_assert_eq!(Dialect::of_content_type(&made), Some(to));
                prop_assert_eq!(split(&made).map(|(_, suffix)| suffix), Some(suffix.as_bytes()));
            }
        }
    }
}
