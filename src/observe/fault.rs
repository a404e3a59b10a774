//! The closed list of reasons why an exchange or a connection could not be served as asked.
//!
//! Only names and meanings: which reply a fault becomes is decided in one table in `proxy`.

use super::label::labels;

labels! {
    /// Why Lintel could not do its job; the `fault` label of metrics and the `fault` field of the access log.
    Fault("fault") {
        /// No route matches the request.
        NoRoute = "no_route",
        /// The pool has no server that is up.
        NoServerUp = "no_server_up",
        /// Every server was at `max_in_flight` and the pool's queue was full.
        QueueFull = "queue_full",
        /// No server became free while the request waited in the queue.
        QueueTimeout = "queue_timeout",
        /// No connection to a server could be made.
        ConnectFailed = "connect_failed",
        /// A server did not accept a connection within `timeouts.connect`.
        ConnectTimeout = "connect_timeout",
        /// The TLS handshake with a server failed, or its certificate was not accepted.
        ServerTlsFailed = "server_tls_failed",
        /// A server sent no response head within `timeouts.response`.
        ResponseTimeout = "response_timeout",
        /// A server closed or reset the connection before its response head was complete.
        ServerReset = "server_reset",
        /// The time that a gRPC call gives itself (`grpc-timeout`) passed.
        DeadlineExceeded = "deadline_exceeded",
        /// A server sent something that is not a valid response.
        BadResponse = "bad_response",
        /// A server fell silent inside its response body for longer than `timeouts.body_idle`.
        ServerBodyTimeout = "server_body_timeout",
        /// A server closed the connection inside its response body; the client saw a shortened response.
        ResponseTruncated = "response_truncated",
        /// The request's body is larger than `limits.body`.
        BodyTooLarge = "body_too_large",
        /// The request's head is larger than `limits.head`.
        HeadTooLarge = "head_too_large",
        /// The request target is longer than `limits.uri`.
        UriTooLong = "uri_too_long",
        /// The request has more fields than `limits.headers`.
        TooManyHeaders = "too_many_headers",
        /// The client did not send a whole request head in time.
        HeadTimeout = "head_timeout",
        /// The client fell silent inside its request body.
        BodyTimeout = "body_timeout",
        /// The client took no byte of the response in time.
        WriteTimeout = "write_timeout",
        /// The request is malformed or ambiguous and was not forwarded.
        BadRequest = "bad_request",
        /// The request asks for a method that Lintel does not serve.
        MethodRefused = "method_refused",
        /// The request is of an HTTP version that Lintel does not speak.
        VersionUnsupported = "version_unsupported",
        /// The request's body comes in a transfer coding that Lintel does not know.
        TransferCodingUnknown = "transfer_coding_unknown",
        /// The request expects something that Lintel does not know.
        ExpectationFailed = "expectation_failed",
        /// The request passed through this Lintel before.
        Loop = "loop",
        /// The request's host needs another certificate or client certificate than its connection has.
        Misdirected = "misdirected",
        /// The client asked for an upgrade that the route does not allow, or the server's 101 does not fit it.
        UpgradeRefused = "upgrade_refused",
        /// An extended CONNECT of HTTP/2 asks for a protocol that the route does not pass on.
        ProtocolRefused = "protocol_refused",
        /// The client left before the response was complete.
        ClientGone = "client_gone",
        /// The connection was refused, or closed while silent, because of `limits.connections`.
        ConnectionLimit = "connection_limit",
        /// The client's TLS handshake failed.
        TlsFailed = "tls_failed",
        /// The client's TLS handshake was not complete in time.
        TlsTimeout = "tls_timeout",
        /// The connection did not begin with a valid PROXY header, or came from an address that may not send one.
        ProxyHeaderBad = "proxy_header_bad",
        /// The PROXY header was not complete in time.
        ProxyHeaderTimeout = "proxy_header_timeout",
        /// A tunnel was silent for longer than `timeouts.tunnel_idle`.
        TunnelIdle = "tunnel_idle",
        /// Lintel ended, and the exchange was not done at `drain_timeout`.
        DrainTimeout = "drain_timeout",
        /// An invariant of Lintel's own broke; please report it.
        Bug = "bug",
    }
}
