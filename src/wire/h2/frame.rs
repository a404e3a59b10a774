//! Frames of HTTP/2 (RFC 9113 sections 4 and 6): their headers, settings and error codes, as bytes.

/// What a client sends first (RFC 9113 section 3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Bytes of a frame's header.
pub const HEADER: usize = 9;

/// Largest payload that is sent and taken: the protocol's default, which every peer must allow.
pub const MAX_PAYLOAD: usize = 16 * 1024;

/// Largest flow-control window (RFC 9113 section 6.9.1).
pub const MAX_WINDOW: i64 = 0x7fff_ffff;

/// Window of connections and streams before anything else is said (RFC 9113 section 6.9.2).
pub const DEFAULT_WINDOW: i64 = 65_535;

/// Highest stream identifier.
pub const MAX_STREAM: u32 = 0x7fff_ffff;

/// Frame types (RFC 9113 section 6).
pub mod kind {
    /// DATA.
    pub const BODY: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const PRIORITY: u8 = 2;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PUSH_PROMISE: u8 = 5;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;
}

/// Flags of frames; which of them a frame has depends on its type.
pub mod flag {
    pub const END_STREAM: u8 = 0x1;
    pub const ACK: u8 = 0x1;
    pub const END_HEADERS: u8 = 0x4;
    pub const PADDED: u8 = 0x8;
    pub const PRIORITY: u8 = 0x20;
}

/// Which end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Server,
    Client,
}

/// What follows on a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    More,
    /// This was the last: END_STREAM.
    Nothing,
}

/// The nine bytes before each payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// Bytes of the payload.
    pub length: usize,
    pub kind: u8,
    pub flags: u8,
    /// 0 is the connection.
    pub stream: u32,
}

impl FrameHeader {
    /// The header at the front of `bytes`, if all of it is there.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let [a, b, c, kind, flags, d, e, f, g, ..] = *bytes else { return None };
        Some(Self {
            length: usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c),
            kind,
            flags,
            // The top bit is reserved and ignored.
            stream: u32::from_be_bytes([d, e, f, g]) & MAX_STREAM,
        })
    }

    /// What follows on the stream after DATA or HEADERS.
    pub fn rest(&self) -> Rest {
        if self.has(flag::END_STREAM) { Rest::Nothing } else { Rest::More }
    }

    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.bytes());
    }

    pub fn bytes(&self) -> [u8; HEADER] {
        let [_, a, b, c] = (self.length as u32).to_be_bytes();
        let [d, e, f, g] = self.stream.to_be_bytes();
        [a, b, c, self.kind, self.flags, d, e, f, g]
    }
}

/// Writes a whole frame whose payload is at hand.
pub fn write(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    FrameHeader { length: payload.len(), kind, flags, stream }.write(out);
    out.extend_from_slice(payload);
}

pub fn write_reset(out: &mut Vec<u8>, stream: u32, code: ErrorCode) {
    write(out, kind::RST_STREAM, 0, stream, &code.number().to_be_bytes());
}

pub fn write_window_update(out: &mut Vec<u8>, stream: u32, increment: u32) {
    write(out, kind::WINDOW_UPDATE, 0, stream, &increment.to_be_bytes());
}

/// `detail` goes along as debug data.
pub fn write_go_away(out: &mut Vec<u8>, last: u32, code: ErrorCode, detail: &str) {
    let mut payload = Vec::with_capacity(8 + detail.len());
    payload.extend_from_slice(&last.to_be_bytes());
    payload.extend_from_slice(&code.number().to_be_bytes());
    payload.extend_from_slice(detail.as_bytes());
    write(out, kind::GOAWAY, 0, 0, &payload);
}

/// The payload of DATA or HEADERS without its padding (RFC 9113 sections 6.1 and 6.2); `None` when the padding does not fit.
pub fn without_padding(header: FrameHeader, payload: &[u8]) -> Option<&[u8]> {
    if !header.has(flag::PADDED) {
        return Some(payload);
    }
    let (length, rest) = payload.split_first()?;
    rest.len().checked_sub(usize::from(*length)).and_then(|end| rest.get(..end))
}

macro_rules! codes {
    ($($variant:ident = $number:literal, $name:literal;)*) => {
        /// Why a stream or a connection ends (RFC 9113 section 7).
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum ErrorCode { $($variant,)* Other(u32) }

        impl ErrorCode {
            pub fn number(self) -> u32 {
                match self { $(Self::$variant => $number,)* Self::Other(number) => number }
            }

            pub fn of(number: u32) -> Self {
                match number { $($number => Self::$variant,)* other => Self::Other(other) }
            }

            /// As the RFC writes it, in lower case.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* Self::Other(_) => "unknown" }
            }
        }
    };
}

codes! {
    NoError = 0x0, "no_error";
    Protocol = 0x1, "protocol_error";
    Internal = 0x2, "internal_error";
    FlowControl = 0x3, "flow_control_error";
    SettingsTimeout = 0x4, "settings_timeout";
    StreamClosed = 0x5, "stream_closed";
    FrameSize = 0x6, "frame_size_error";
    RefusedStream = 0x7, "refused_stream";
    Cancel = 0x8, "cancel";
    Compression = 0x9, "compression_error";
    Connect = 0xa, "connect_error";
    EnhanceYourCalm = 0xb, "enhance_your_calm";
    InadequateSecurity = 0xc, "inadequate_security";
    Http11Required = 0xd, "http_1_1_required";
}

/// What the peer says about itself (RFC 9113 section 6.5.2, RFC 8441 section 3), as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    pub header_table_size: u32,
    pub max_concurrent_streams: u32,
    pub initial_window: u32,
    pub max_frame_size: u32,
    /// Extended CONNECT is understood.
    pub connect_protocol: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            header_table_size: 4096,
            max_concurrent_streams: u32::MAX,
            initial_window: DEFAULT_WINDOW as u32,
            max_frame_size: MAX_PAYLOAD as u32,
            connect_protocol: false,
        }
    }
}

impl Settings {
    const HEADER_TABLE_SIZE: u16 = 1;
    const ENABLE_PUSH: u16 = 2;
    const MAX_CONCURRENT_STREAMS: u16 = 3;
    const INITIAL_WINDOW_SIZE: u16 = 4;
    const MAX_FRAME_SIZE: u16 = 5;
    const MAX_HEADER_LIST_SIZE: u16 = 6;
    const ENABLE_CONNECT_PROTOCOL: u16 = 8;

    /// Takes over what a SETTINGS frame of `sender` says.
    pub fn apply(&mut self, payload: &[u8], sender: Role) -> Result<(), (ErrorCode, &'static str)> {
        for setting in payload.chunks_exact(6) {
            let [a, b, c, d, e, f] = *setting else { continue };
            let (name, value) = (u16::from_be_bytes([a, b]), u32::from_be_bytes([c, d, e, f]));
            match name {
                Self::HEADER_TABLE_SIZE => self.header_table_size = value,
                // Clients may ask for pushes; a server cannot.
                Self::ENABLE_PUSH if value > u32::from(sender == Role::Client) => {
                    return Err((ErrorCode::Protocol, "ENABLE_PUSH is not a value that this side may send"));
                }
                Self::MAX_CONCURRENT_STREAMS => self.max_concurrent_streams = value,
                Self::INITIAL_WINDOW_SIZE if i64::from(value) > MAX_WINDOW => {
                    return Err((ErrorCode::FlowControl, "INITIAL_WINDOW_SIZE is above 2^31-1"));
                }
                Self::INITIAL_WINDOW_SIZE => self.initial_window = value,
                Self::MAX_FRAME_SIZE if !(16_384..=16_777_215).contains(&value) => {
                    return Err((ErrorCode::Protocol, "MAX_FRAME_SIZE is not between 2^14 and 2^24-1"));
                }
                Self::MAX_FRAME_SIZE => self.max_frame_size = value,
                Self::ENABLE_CONNECT_PROTOCOL if value > 1 || (value == 0 && self.connect_protocol) => {
                    return Err((
                        ErrorCode::Protocol,
                        "ENABLE_CONNECT_PROTOCOL is not 0 or 1, or was taken back",
                    ));
                }
                Self::ENABLE_CONNECT_PROTOCOL => self.connect_protocol = value == 1,
                _ => {}
            }
        }
        Ok(())
    }

    /// A SETTINGS frame of a server: what clients may do, and that it understands extended CONNECT.
    pub fn write_for_client(out: &mut Vec<u8>, streams: u32, window: u32, header_list: u32) {
        let settings = [
            (Self::MAX_CONCURRENT_STREAMS, streams),
            (Self::INITIAL_WINDOW_SIZE, window),
            (Self::MAX_HEADER_LIST_SIZE, header_list),
            (Self::ENABLE_CONNECT_PROTOCOL, 1),
        ];
        Self::write(out, &settings);
    }

    /// A SETTINGS frame of a client, which wants no pushes.
    pub fn write_for_server(out: &mut Vec<u8>, window: u32, header_list: u32) {
        let settings = [
            (Self::ENABLE_PUSH, 0),
            (Self::INITIAL_WINDOW_SIZE, window),
            (Self::MAX_HEADER_LIST_SIZE, header_list),
        ];
        Self::write(out, &settings);
    }

    fn write(out: &mut Vec<u8>, settings: &[(u16, u32)]) {
        FrameHeader { length: settings.len() * 6, kind: kind::SETTINGS, flags: 0, stream: 0 }.write(out);
        for (name, value) in settings {
            out.extend_from_slice(&name.to_be_bytes());
            out.extend_from_slice(&value.to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_as_it_was_written() {
        let header =
            FrameHeader { length: 0x01_0203, kind: kind::BODY, flags: flag::PADDED, stream: 0x7fff_fff1 };
        let mut out = Vec::new();
        header.write(&mut out);
        assert_eq!((out.len(), FrameHeader::parse(&out)), (HEADER, Some(header)));
        assert_eq!(FrameHeader::parse(&out[..8]), None);
        out[5] |= 0x80;
        assert_eq!(FrameHeader::parse(&out), Some(header), "the reserved bit is ignored");
    }

    #[test]
    fn padding_is_taken_off_and_never_more_than_there_is() {
        let header = FrameHeader { length: 5, kind: kind::BODY, flags: flag::PADDED, stream: 1 };
        assert_eq!(without_padding(header, b"\x02abcc"), Some(b"ab".as_slice()));
        assert_eq!(without_padding(header, b"\x04abcd"), Some(b"".as_slice()));
        assert_eq!(without_padding(header, b"\x05abcd"), None);
        assert_eq!(without_padding(header, b""), None);
        assert_eq!(
            without_padding(FrameHeader { flags: 0, ..header }, b"\x02ab"),
            Some(b"\x02ab".as_slice())
        );
    }

    #[test]
    fn settings_are_taken_over_within_their_ranges() {
        let set = |name: u16, value: u32| [&name.to_be_bytes()[..], &value.to_be_bytes()].concat();
        let mut settings = Settings::default();
        let payload = [set(4, 7), set(3, 9), set(0x99, 5), set(8, 1)].concat();
        settings.apply(&payload, Role::Server).unwrap();
        assert_eq!((settings.initial_window, settings.max_concurrent_streams), (7, 9));
        assert!(settings.connect_protocol);
        for (name, value, code) in [
            (2, 2, ErrorCode::Protocol),
            (4, 0x8000_0000, ErrorCode::FlowControl),
            (5, 16_383, ErrorCode::Protocol),
            (5, 16_777_216, ErrorCode::Protocol),
            (8, 0, ErrorCode::Protocol),
        ] {
            assert_eq!(
                settings.apply(&set(name, value), Role::Client).unwrap_err().0,
                code,
                "{name}={value}"
            );
        }
        assert!(settings.apply(&set(2, 1), Role::Client).is_ok());
        assert!(settings.apply(&set(2, 1), Role::Server).is_err(), "a server cannot ask for pushes");
    }
}
