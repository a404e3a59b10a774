//! Status codes of gRPC calls, the mapping from HTTP statuses, and the coding of `grpc-message`.

use std::fmt::Write as _;

/// How a gRPC call ended; the numbers are those of the wire (gRPC's `statuscodes.md`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Status {
    /// It succeeded.
    Ok = 0,
    /// The caller gave it up.
    Cancelled = 1,
    /// Nothing better is known.
    Unknown = 2,
    /// The request can never be right, whatever the state of the server.
    InvalidArgument = 3,
    /// Its time was up.
    DeadlineExceeded = 4,
    /// What it asks for is not there.
    NotFound = 5,
    /// What it wants to make is there already.
    AlreadyExists = 6,
    /// The caller is known and may not.
    PermissionDenied = 7,
    /// A quota, a limit or a queue is full.
    ResourceExhausted = 8,
    /// The state of the server does not allow it.
    FailedPrecondition = 9,
    /// A conflict with another call.
    Aborted = 10,
    /// Beyond the end of something.
    OutOfRange = 11,
    /// No such service or method.
    Unimplemented = 12,
    /// Something that never happens did.
    Internal = 13,
    /// Not now; a later try may succeed.
    Unavailable = 14,
    /// Data was lost for good.
    DataLoss = 15,
    /// The caller is not known.
    Unauthenticated = 16,
}

/// All of them, each at the index of its number.
const ALL: [Status; 17] = [
    Status::Ok,
    Status::Cancelled,
    Status::Unknown,
    Status::InvalidArgument,
    Status::DeadlineExceeded,
    Status::NotFound,
    Status::AlreadyExists,
    Status::PermissionDenied,
    Status::ResourceExhausted,
    Status::FailedPrecondition,
    Status::Aborted,
    Status::OutOfRange,
    Status::Unimplemented,
    Status::Internal,
    Status::Unavailable,
    Status::DataLoss,
    Status::Unauthenticated,
];

impl Status {
    /// Every status, in the order of the numbers.
    pub fn all() -> impl Iterator<Item = Self> {
        ALL.into_iter()
    }

    /// The number that stands in `grpc-status`.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// The number as the value of a field.
    pub fn text(self) -> &'static str {
        const TEXTS: [&str; ALL.len()] =
            ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15", "16"];
        TEXTS.get(usize::from(self.code())).copied().unwrap_or("2")
    }

    /// The name that gRPC's own documents use.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Cancelled => "CANCELLED",
            Self::Unknown => "UNKNOWN",
            Self::InvalidArgument => "INVALID_ARGUMENT",
            Self::DeadlineExceeded => "DEADLINE_EXCEEDED",
            Self::NotFound => "NOT_FOUND",
            Self::AlreadyExists => "ALREADY_EXISTS",
            Self::PermissionDenied => "PERMISSION_DENIED",
            Self::ResourceExhausted => "RESOURCE_EXHAUSTED",
            Self::FailedPrecondition => "FAILED_PRECONDITION",
            Self::Aborted => "ABORTED",
            Self::OutOfRange => "OUT_OF_RANGE",
            Self::Unimplemented => "UNIMPLEMENTED",
            Self::Internal => "INTERNAL",
            Self::Unavailable => "UNAVAILABLE",
            Self::DataLoss => "DATA_LOSS",
            Self::Unauthenticated => "UNAUTHENTICATED",
        }
    }

    /// The status of a `grpc-status` field: a decimal number up to 16 without leading zeros.
    pub fn of_code(value: &[u8]) -> Option<Self> {
        let number = match value {
            [one] if one.is_ascii_digit() => one - b'0',
            [b'1', one] if one.is_ascii_digit() => 10 + (one - b'0'),
            _ => return None,
        };
        ALL.get(usize::from(number)).copied()
    }

    /// What a client must make of an answer without `grpc-status` (gRPC's `http-grpc-status-mapping.md`). That goes
    /// for 200 too: an answer that is no gRPC is `Unknown`.
    pub fn of_http(status: u16) -> Self {
        match status {
            400 => Self::Internal,
            401 => Self::Unauthenticated,
            403 => Self::PermissionDenied,
            404 => Self::Unimplemented,
            429 | 502 | 503 | 504 => Self::Unavailable,
            _ => Self::Unknown,
        }
    }
}

/// Text as the value of `grpc-message`: all but printable ASCII, and `%` itself, is written as `%XX` byte by byte.
///
/// A space at either end is written so too, since the value of a field can have none there (RFC 9113 section 8.2.1).
pub fn encode_message(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut encoded = String::with_capacity(bytes.len());
    for (at, byte) in bytes.iter().enumerate() {
        let at_an_end = at == 0 || at + 1 == bytes.len();
        match byte {
            b'%' => encoded.push_str("%25"),
            b' ' if at_an_end => encoded.push_str("%20"),
            b' '..=b'~' => encoded.push(char::from(*byte)),
            // Writing to a String cannot fail.
            _ => drop(write!(encoded, "%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As a client decodes: what is no `%XX` stays as it is.
    fn decode_message(value: &str) -> Vec<u8> {
        let (bytes, mut decoded, mut at) = (value.as_bytes(), Vec::new(), 0);
        while at < bytes.len() {
            let hex = value.get(at + 1..at + 3).filter(|_| bytes[at] == b'%');
            let byte = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok());
            decoded.push(byte.unwrap_or(bytes[at]));
            at += if byte.is_some() { 3 } else { 1 };
        }
        decoded
    }

    #[test]
    fn numbers_and_names_go_together() {
        assert_eq!(Status::all().count(), 17);
        for (number, status) in Status::all().enumerate() {
            assert_eq!(usize::from(status.code()), number);
            assert_eq!(status.text(), number.to_string());
            assert_eq!(Status::of_code(number.to_string().as_bytes()), Some(status));
        }
        let names: std::collections::BTreeSet<_> = Status::all().map(Status::name).collect();
        assert_eq!(names.len(), 17);
        assert_eq!((Status::DeadlineExceeded.name(), Status::Unavailable.code()), ("DEADLINE_EXCEEDED", 14));
    }

    #[test]
    fn what_is_no_code_is_none() {
        for value in
            ["", "17", "18", "20", "99", "100", "00", "01", "016", "-1", "+1", " 1", "1 ", "x", "1x", "OK"]
        {
            assert_eq!(Status::of_code(value.as_bytes()), None, "{value:?}");
        }
        assert_eq!(Status::of_code(b"\xff"), None);
    }

    #[test]
    fn http_statuses_map_as_grpc_says() {
        for (http, status) in [
            (400, Status::Internal),
            (401, Status::Unauthenticated),
            (403, Status::PermissionDenied),
            (404, Status::Unimplemented),
            (429, Status::Unavailable),
            (502, Status::Unavailable),
            (503, Status::Unavailable),
            (504, Status::Unavailable),
            (200, Status::Unknown),
            (302, Status::Unknown),
            (413, Status::Unknown),
            (500, Status::Unknown),
            (0, Status::Unknown),
        ] {
            assert_eq!(Status::of_http(http), status, "{http}");
        }
    }

    #[test]
    fn messages_are_percent_encoded() {
        for (text, encoded) in [
            ("", ""),
            ("no server is up", "no server is up"),
            ("100% gone", "100%25 gone"),
            ("a\r\nb\0", "a%0D%0Ab%00"),
            ("grün ✓", "gr%C3%BCn %E2%9C%93"),
            ("~\u{7f}", "~%7F"),
            (" x ", "%20x%20"),
            (" ", "%20"),
        ] {
            assert_eq!(encode_message(text), encoded);
        }
    }

    proptest! {
        #[test]
        fn a_message_survives_the_way_there_and_back(text in any::<String>()) {
            let encoded = encode_message(&text);
            prop_assert!(encoded.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
            prop_assert!(encoded.trim() == encoded);
            prop_assert_eq!(decode_message(&encoded), text.into_bytes());
        }

        #[test]
        fn any_bytes_are_a_code_or_none(value in proptest::collection::vec(any::<u8>(), 0..4)) {
            if let Some(status) = Status::of_code(&value) {
                prop_assert_eq!(status.text().as_bytes(), value);
            }
        }
    }
}
