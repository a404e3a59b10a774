//! The one table from failure to reply.
//!
//! The client sees a fixed short text and the request id; the log sees the whole chain.

use crate::observe::Fault;
use crate::observe::metrics::Malformation;
use crate::reply::{Reply, reason};
use crate::wire::grpc::Status;
use crate::wire::h2::ErrorCode;
use crate::wire::rules::ParseHeadError;

/// Seconds after which a client may try again when servers were missing or full.
const RETRY_AFTER: &[u8] = b"1";

/// A failure on its way to its reply.
#[derive(Debug)]
pub struct Failure {
    pub fault: Fault,
    /// What the log says about it.
    pub detail: String,
}

impl Failure {
    pub fn new(fault: Fault, detail: impl ToString) -> Self {
        Self { fault, detail: detail.to_string() }
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Self { fault, detail: String::new() }
    }
}

/// The status that a fault is answered with; 499 is for the log alone, since nobody is there to read it.
pub fn status(fault: Fault) -> u16 {
    use Fault as F;
    match fault {
        F::BadRequest | F::TlsFailed | F::TlsTimeout | F::ProxyHeaderBad | F::ProxyHeaderTimeout => 400,
        F::NoRoute => 404,
        F::MethodRefused => 405,
        F::HeadTimeout | F::BodyTimeout => 408,
        F::BodyTooLarge => 413,
        F::UriTooLong => 414,
        F::ExpectationFailed => 417,
        F::Misdirected => 421,
        F::HeadTooLarge | F::TooManyHeaders => 431,
        F::ClientGone | F::WriteTimeout => 499,
        F::Bug => 500,
        F::TransferCodingUnknown | F::ProtocolRefused => 501,
        F::ConnectFailed
        | F::ServerTlsFailed
        | F::ServerReset
        | F::BadResponse
        | F::ResponseTruncated
        | F::UpgradeRefused => 502,
        F::NoServerUp | F::QueueFull | F::QueueTimeout | F::ConnectionLimit | F::DrainTimeout => 503,
        F::ConnectTimeout
        | F::ResponseTimeout
        | F::DeadlineExceeded
        | F::ServerBodyTimeout
        | F::TunnelIdle => 504,
        F::VersionUnsupported => 505,
        F::Loop => 508,
    }
}

/// What a gRPC call ends with.
pub fn grpc_status(fault: Fault) -> Status {
    use Fault as F;
    match fault {
        F::NoRoute | F::MethodRefused | F::ProtocolRefused => Status::Unimplemented,
        F::ClientGone | F::WriteTimeout => Status::Cancelled,
        F::ConnectTimeout
        | F::ResponseTimeout
        | F::DeadlineExceeded
        | F::ServerBodyTimeout
        | F::BodyTimeout
        | F::TunnelIdle => Status::DeadlineExceeded,
        F::ConnectFailed
        | F::ServerTlsFailed
        | F::ServerReset
        | F::ResponseTruncated
        | F::NoServerUp
        | F::DrainTimeout => Status::Unavailable,
        F::QueueFull
        | F::QueueTimeout
        | F::ConnectionLimit
        | F::BodyTooLarge
        | F::HeadTooLarge
        | F::TooManyHeaders
        | F::UriTooLong => Status::ResourceExhausted,
        _ => Status::Internal,
    }
}

/// How a stream of HTTP/2 is reset whose answer was begun, or cannot be given.
pub fn error_code(fault: Fault) -> ErrorCode {
    match fault {
        Fault::ClientGone | Fault::WriteTimeout | Fault::DrainTimeout => ErrorCode::Cancel,
        _ => ErrorCode::Internal,
    }
}

/// The reply to a fault.
pub fn reply(fault: Fault, request_id: &str) -> Reply {
    let status = status(fault);
    let mut body = format!("{status} {}\n", reason(status));
    if !request_id.is_empty() {
        body += &format!("request id: {request_id}\n");
    }
    let reply = Reply::text(status, body).with("Cache-Control", b"no-store");
    match fault {
        Fault::NoServerUp | Fault::QueueFull | Fault::QueueTimeout | Fault::ConnectionLimit => {
            reply.with("Retry-After", RETRY_AFTER)
        }
        Fault::MethodRefused => reply.with("Allow", b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"),
        _ => reply,
    }
}

/// What a head that is refused comes to.
pub fn head_fault(error: ParseHeadError) -> Fault {
    match error {
        ParseHeadError::Malformed(_) => Fault::BadRequest,
        ParseHeadError::TransferCoding => Fault::TransferCodingUnknown,
        ParseHeadError::TooLarge => Fault::HeadTooLarge,
        ParseHeadError::TooManyFields => Fault::TooManyHeaders,
        ParseHeadError::TargetTooLong => Fault::UriTooLong,
        ParseHeadError::Version => Fault::VersionUnsupported,
        ParseHeadError::Expectation => Fault::ExpectationFailed,
        ParseHeadError::Method => Fault::MethodRefused,
    }
}

/// The same for the listener's metrics.
pub fn malformation(error: ParseHeadError) -> Malformation {
    match error {
        ParseHeadError::Malformed(what) if what.starts_with("Host") => Malformation::Host,
        ParseHeadError::Malformed(what) if what.starts_with("the target") => Malformation::Target,
        ParseHeadError::Malformed(_) => Malformation::Head,
        ParseHeadError::TooLarge => Malformation::HeadTooLarge,
        ParseHeadError::TooManyFields => Malformation::TooManyHeaders,
        ParseHeadError::TargetTooLong => Malformation::UriTooLong,
        ParseHeadError::Version => Malformation::Version,
        ParseHeadError::TransferCoding => Malformation::TransferCoding,
        ParseHeadError::Expectation => Malformation::Expectation,
        ParseHeadError::Method => Malformation::Method,
    }
}
