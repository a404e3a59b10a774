//! What is counted per listener: connections, TLS handshakes, heads that were no requests, deadlines.

use super::cell::{Counter, CounterBy, Gauge, Histogram};
use super::family::{Cells, Family, Handle, Kind};
use crate::observe::label::labels;
use crate::wire::h2::{ErrorCode, Flood};

/// Handles of one listener.
pub type ListenerMetrics = Handle<ListenerCells>;

labels! {
    /// Why Lintel refused or ended a connection; ends in order are not counted here.
    CloseReason("reason") {
        /// `limits.connections` was reached and none could be closed to make room.
        Limit = "limit",
        /// It was silent the longest when room was needed.
        Evicted = "evicted",
        /// Its address may not send a PROXY header, or the header was bad.
        ProxyHeader = "proxy_header",
        /// Its TLS handshake failed.
        Tls = "tls",
        /// It sent something that is no request.
        Malformed = "malformed",
        /// One of its deadlines passed.
        Timeout = "timeout",
        /// The client reset it, or left inside an exchange.
        ClientGone = "client_gone",
        /// It was still in use at `drain_timeout`.
        Drain = "drain",
        /// It sent too much of what costs little to send; `lintel_listener_http2_floods_total` says what.
        Flood = "flood",
        /// It could not be set up: the system refused something.
        System = "system",
    }
}

labels! {
    /// A TLS handshake that succeeded: its version, and whether it was resumed.
    Handshake("outcome") {
        /// TLS 1.2, in full.
        Tls12 = "tls1.2",
        /// TLS 1.2, resumed by ticket.
        Tls12Resumed = "tls1.2_resumed",
        /// TLS 1.3, in full.
        Tls13 = "tls1.3",
        /// TLS 1.3, resumed by ticket.
        Tls13Resumed = "tls1.3_resumed",
    }
}

labels! {
    /// Why a client's TLS handshake failed.
    HandshakeFailure("reason") {
        /// Closed without having sent a byte: health checks of balancers, speculative connections.
        Silent = "silent",
        /// Closed or reset in the middle.
        ClientClosed = "client_closed",
        /// Not complete within `timeouts.tls_handshake`.
        Timeout = "timeout",
        /// HTTP without TLS.
        PlainHttp = "plain_http",
        /// No TLS at all.
        NotTls = "not_tls",
        /// No version of TLS that both sides speak.
        NoSharedVersion = "no_shared_version",
        /// No cipher suite, key exchange group or signature scheme that both sides know.
        NoSharedCipher = "no_shared_cipher",
        /// No application protocol in common (ALPN).
        NoSharedProtocol = "no_shared_protocol",
        /// `client_auth: required` and the client showed none.
        ClientCertificateMissing = "client_certificate_missing",
        /// The client's certificate does not hold.
        ClientCertificateInvalid = "client_certificate_invalid",
        /// The client does not accept the listener's certificate.
        CertificateRefused = "certificate_refused",
        /// The client ended it with another alert.
        Alert = "alert",
        /// The client does not follow the protocol.
        Protocol = "protocol",
        /// Lintel's own fault.
        Internal = "internal",
    }
}

labels! {
    /// Why a request was refused before it was understood.
    Malformation("reason") {
        /// The head is no request head, or can be read in two ways.
        Head = "head",
        /// The target is not one that this request may have, or its path has no normal form.
        Target = "target",
        /// Host is missing, repeated or no host.
        Host = "host",
        /// The body's chunks are no chunks.
        Body = "body",
        /// The head is larger than `limits.head`.
        HeadTooLarge = "head_too_large",
        /// More fields than `limits.headers`.
        TooManyHeaders = "too_many_headers",
        /// The target is longer than `limits.uri`.
        UriTooLong = "uri_too_long",
        /// The body is larger than `limits.body`.
        BodyTooLarge = "body_too_large",
        /// The HTTP version is none that Lintel speaks.
        Version = "version",
        /// The method is none that Lintel serves (CONNECT, TRACE).
        Method = "method",
        /// The transfer coding is not known.
        TransferCoding = "transfer_coding",
        /// The expectation is not known.
        Expectation = "expectation",
        /// The connection ended inside the head.
        Truncated = "truncated",
    }
}

labels! {
    /// A deadline for clients that passed.
    ClientTimeout("kind") {
        /// The PROXY header.
        ProxyHeader = "proxy_header",
        /// The TLS handshake.
        TlsHandshake = "tls_handshake",
        /// A whole request head.
        Head = "head",
        /// The preface of HTTP/2.
        Preface = "preface",
        /// Silence inside a request's body.
        BodyIdle = "body_idle",
        /// No further request on a kept-alive connection: usual, not a fault.
        KeepAlive = "keep_alive",
        /// No byte of the response taken.
        WriteIdle = "write_idle",
    }
}

labels! {
    /// What a client of HTTP/2 did too often.
    Http2Flood("reason") {
        /// Requests given up as fast as they were made.
        RapidReset = "rapid_reset",
        /// SETTINGS frames.
        Settings = "settings",
        /// PING frames.
        Ping = "ping",
        /// PRIORITY frames and frames of unknown types.
        Priority = "priority",
        /// WINDOW_UPDATE frames out of proportion to the data sent.
        WindowUpdate = "window_update",
        /// DATA frames without a byte.
        EmptyData = "empty_data",
        /// DATA frames of a few bytes.
        SmallData = "small_data",
        /// Mistakes that Lintel has to reset streams for.
        StreamErrors = "stream_errors",
        /// CONTINUATION frames of one head.
        Continuation = "continuation",
        /// A head far beyond its limit.
        HeaderBlock = "header_block",
        /// Answers that it asked for and did not read.
        Unread = "unread",
    }
}

labels! {
    /// An error of HTTP/2 that Lintel ended a stream or a connection with (RFC 9113 section 7).
    Http2Error("code") {
        /// PROTOCOL_ERROR.
        Protocol = "protocol_error",
        /// INTERNAL_ERROR: a response that cannot be completed.
        Internal = "internal_error",
        /// CANCEL: a client that takes too long, or the end of draining.
        Cancel = "cancel",
        /// FLOW_CONTROL_ERROR.
        FlowControl = "flow_control_error",
        /// SETTINGS_TIMEOUT.
        SettingsTimeout = "settings_timeout",
        /// STREAM_CLOSED.
        StreamClosed = "stream_closed",
        /// FRAME_SIZE_ERROR.
        FrameSize = "frame_size_error",
        /// REFUSED_STREAM.
        RefusedStream = "refused_stream",
        /// COMPRESSION_ERROR.
        Compression = "compression_error",
        /// ENHANCE_YOUR_CALM.
        EnhanceYourCalm = "enhance_your_calm",
        /// Any other.
        Other = "other",
    }
}

labels! {
    /// Protocol version of a request.
    RequestVersion("version") {
        /// HTTP/1.0.
        Http10 = "1.0",
        /// HTTP/1.1.
        Http11 = "1.1",
        /// HTTP/2.
        Http2 = "2",
    }
}

impl Http2Flood {
    pub fn of(flood: Flood) -> Self {
        match flood {
            Flood::RapidReset => Self::RapidReset,
            Flood::Settings => Self::Settings,
            Flood::Ping => Self::Ping,
            Flood::Priority => Self::Priority,
            Flood::WindowUpdate => Self::WindowUpdate,
            Flood::EmptyData => Self::EmptyData,
            Flood::SmallData => Self::SmallData,
            Flood::StreamErrors => Self::StreamErrors,
            Flood::Continuation => Self::Continuation,
            Flood::HeaderBlock => Self::HeaderBlock,
            Flood::Unread => Self::Unread,
        }
    }
}

impl Http2Error {
    pub fn of(code: ErrorCode) -> Self {
        match code {
            ErrorCode::Protocol => Self::Protocol,
            ErrorCode::Internal => Self::Internal,
            ErrorCode::Cancel => Self::Cancel,
            ErrorCode::FlowControl => Self::FlowControl,
            ErrorCode::SettingsTimeout => Self::SettingsTimeout,
            ErrorCode::StreamClosed => Self::StreamClosed,
            ErrorCode::FrameSize => Self::FrameSize,
            ErrorCode::RefusedStream => Self::RefusedStream,
            ErrorCode::Compression => Self::Compression,
            ErrorCode::EnhanceYourCalm => Self::EnhanceYourCalm,
            _ => Self::Other,
        }
    }
}

#[derive(Debug, Default)]
pub struct ListenerCells {
    /// Connections accepted.
    pub connections: Counter,
    pub connections_open: Gauge,
    pub closed: CounterBy<CloseReason>,
    /// Connections that ended without a byte from the client.
    pub silent: Counter,
    pub handshakes: CounterBy<Handshake>,
    pub handshake_failures: CounterBy<HandshakeFailure>,
    /// Handshakes that succeeded.
    pub handshake_duration: Histogram,
    pub malformed: CounterBy<Malformation>,
    pub timeouts: CounterBy<ClientTimeout>,
    pub requests: CounterBy<RequestVersion>,
    pub http2_floods: CounterBy<Http2Flood>,
    pub http2_errors: CounterBy<Http2Error>,
    /// Bytes from clients without TLS; may be added when a connection ends.
    pub bytes_in: Counter,
    /// Bytes to clients without TLS; may be added when a connection ends.
    pub bytes_out: Counter,
}

impl Cells for ListenerCells {
    const LABELS: &'static [&'static str] = &["listener"];
    const FAMILIES: &'static [Family<Self>] = &[
        Family {
            name: "lintel_listener_connections_total",
            kind: Kind::Counter,
            labels: &[],
            help: "Connections accepted.",
            read: |cells, samples| samples.value(&[], cells.connections.count() as f64),
        },
        Family {
            name: "lintel_listener_connections_open",
            kind: Kind::Gauge,
            labels: &[],
            help: "Connections open now.",
            read: |cells, samples| samples.value(&[], cells.connections_open.value() as f64),
        },
        Family {
            name: "lintel_listener_closed_total",
            kind: Kind::Counter,
            labels: &["reason"],
            help: "Connections that were refused or ended out of order, by why.",
            read: |cells, samples| samples.by(&cells.closed),
        },
        Family {
            name: "lintel_listener_silent_total",
            kind: Kind::Counter,
            labels: &[],
            help: "Connections that ended without a byte from the client.",
            read: |cells, samples| samples.value(&[], cells.silent.count() as f64),
        },
        Family {
            name: "lintel_listener_tls_handshakes_total",
            kind: Kind::Counter,
            labels: &["outcome"],
            help: "TLS handshakes that succeeded, by version and whether they were resumed.",
            read: |cells, samples| samples.by(&cells.handshakes),
        },
        Family {
            name: "lintel_listener_tls_failures_total",
            kind: Kind::Counter,
            labels: &["reason"],
            help: "TLS handshakes that failed, by why.",
            read: |cells, samples| samples.by(&cells.handshake_failures),
        },
        Family {
            name: "lintel_listener_tls_handshake_seconds",
            kind: Kind::Histogram,
            labels: &[],
            help: "Duration of the TLS handshakes that succeeded.",
            read: |cells, samples| samples.histogram(&cells.handshake_duration),
        },
        Family {
            name: "lintel_listener_malformed_total",
            kind: Kind::Counter,
            labels: &["reason"],
            help: "Requests refused because they are malformed, ambiguous or too large, by what is wrong.",
            read: |cells, samples| samples.by(&cells.malformed),
        },
        Family {
            name: "lintel_listener_timeouts_total",
            kind: Kind::Counter,
            labels: &["kind"],
            help: "Deadlines for clients that passed.",
            read: |cells, samples| samples.by(&cells.timeouts),
        },
        Family {
            name: "lintel_listener_requests_total",
            kind: Kind::Counter,
            labels: &["version"],
            help: "Request heads received, by protocol version.",
            read: |cells, samples| samples.by(&cells.requests),
        },
        Family {
            name: "lintel_listener_http2_floods_total",
            kind: Kind::Counter,
            labels: &["reason"],
            help: "Connections of HTTP/2 ended because the client did something too often, by what.",
            read: |cells, samples| samples.by(&cells.http2_floods),
        },
        Family {
            name: "lintel_listener_http2_errors_total",
            kind: Kind::Counter,
            labels: &["code"],
            help: "Streams and connections of HTTP/2 that Lintel ended out of order, by error code.",
            read: |cells, samples| samples.by(&cells.http2_errors),
        },
        Family {
            name: "lintel_listener_received_bytes_total",
            kind: Kind::Counter,
            labels: &[],
            help: "Bytes from clients, without TLS.",
            read: |cells, samples| samples.value(&[], cells.bytes_in.count() as f64),
        },
        Family {
            name: "lintel_listener_sent_bytes_total",
            kind: Kind::Counter,
            labels: &[],
            help: "Bytes to clients, without TLS.",
            read: |cells, samples| samples.value(&[], cells.bytes_out.count() as f64),
        },
    ];
}
