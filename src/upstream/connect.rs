//! A new connection to a server, with its TLS handshake, within one deadline; and how the loss of its machine is noticed.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use pingora_core::protocols::l4::ext;
use rustix::io::Errno;
use rustix::net::sockopt;

use super::ClientTls;
use crate::net::{Address, Endpoint, Stream, Transport};

/// Keepalive probes within the time that a server's machine may be silent.
const PROBES: u32 = 4;

/// How long a server may take to be reached, and its machine to give a sign of life.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// For the connection and its TLS handshake.
    pub connect: Duration,
    /// Without an acknowledgement of sent bytes or of a keepalive probe; then the connection ends.
    pub unacknowledged: Duration,
}

/// Why no connection could be made. Nothing of a request was sent.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("no connection to {endpoint}: {reason}")]
    Refused { endpoint: Endpoint, reason: String },
    /// No fault of the server: this process or machine has no descriptor or memory left for a connection.
    #[error("no connection to {endpoint}, for lack of something here: {reason}")]
    Scarce { endpoint: Endpoint, reason: String },
    #[error("no connection to {endpoint} within {limit:?}")]
    Timeout { endpoint: Endpoint, limit: Duration },
    #[error("no TLS with {endpoint}: {reason}")]
    Tls { endpoint: Endpoint, reason: String },
}

/// For health checks, which tell a failed handshake by `InvalidData`, and what is missing here by `OutOfMemory`.
impl From<ConnectError> for io::Error {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::Refused { reason, .. } => Self::new(io::ErrorKind::ConnectionRefused, reason),
            ConnectError::Scarce { reason, .. } => Self::new(io::ErrorKind::OutOfMemory, reason),
            ConnectError::Timeout { .. } => Self::new(io::ErrorKind::TimedOut, error),
            ConnectError::Tls { reason, .. } => Self::new(io::ErrorKind::InvalidData, reason),
        }
    }
}

/// Connects to `endpoint`; with `tls`, also shakes hands for the name that the server was written with.
pub async fn connect(
    endpoint: &Endpoint,
    tls: Option<(&ClientTls, &Address)>,
    limits: Limits,
) -> Result<Stream, ConnectError> {
    let limit = limits.connect;
    let connecting = async {
        let transport = connect_transport(endpoint, limits.unacknowledged).await?;
        let Some((tls, address)) = tls else { return Ok(Stream::Plain(transport)) };
        let failed = |reason: String| ConnectError::Tls { endpoint: endpoint.clone(), reason };
        let server_name = tls.server_name(address).map_err(|error| failed(error.to_string()))?;
        let stream = tls.connect(transport, &server_name).await.map_err(|error| failed(error.to_string()))?;
        Ok(Stream::Client(Box::new(stream)))
    };
    match pingora_timeout::timeout(limit, connecting).await {
        Ok(outcome) => outcome,
        Err(_) => Err(ConnectError::Timeout { endpoint: endpoint.clone(), limit }),
    }
}

async fn connect_transport(endpoint: &Endpoint, unacknowledged: Duration) -> Result<Transport, ConnectError> {
    let refused = |reason: String| ConnectError::Refused { endpoint: endpoint.clone(), reason };
    match endpoint {
        Endpoint::Inet(address) => {
            let stream = ext::connect(address, None).await.map_err(|error| failed(endpoint, &error))?;
            stream.set_nodelay(true).map_err(|error| refused(error.to_string()))?;
            notice_loss(&stream, unacknowledged).map_err(|error| refused(error.to_string()))?;
            Ok(stream.into())
        }
        Endpoint::Unix(path) => {
            let stream = ext::connect_uds(path).await.map_err(|error| failed(endpoint, &error))?;
            Ok(stream.into())
        }
    }
}

/// A machine that lost its power says nothing, and TCP alone would go on for a quarter of an hour (tcp(7), `tcp_retries2`).
/// The user timeout counts for bytes on their way (RFC 5482), and for the probes while nothing is.
fn notice_loss(socket: impl AsFd, unacknowledged: Duration) -> io::Result<()> {
    let socket = socket.as_fd();
    let pause = (unacknowledged / PROBES).clamp(Duration::from_secs(1), Duration::from_secs(32_767));
    let whole = u32::try_from(unacknowledged.as_millis()).unwrap_or(u32::MAX).min(i32::MAX.unsigned_abs());
    sockopt::set_socket_keepalive(socket, true)?;
    sockopt::set_tcp_keepidle(socket, pause)?;
    sockopt::set_tcp_keepintvl(socket, pause)?;
    sockopt::set_tcp_keepcnt(socket, PROBES)?;
    sockopt::set_tcp_user_timeout(socket, whole)?;
    Ok(())
}

fn failed(endpoint: &Endpoint, error: &pingora_core::Error) -> ConnectError {
    let (endpoint, reason) = (endpoint.clone(), explain(error));
    let said = error.cause.as_deref().and_then(|cause| cause.downcast_ref::<io::Error>());
    match said.and_then(Errno::from_io_error) {
        Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOBUFS) => {
            ConnectError::Scarce { endpoint, reason }
        }
        _ => ConnectError::Refused { endpoint, reason },
    }
}

/// The innermost cause says what the system said.
fn explain(error: &pingora_core::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    match error.cause.as_deref() {
        Some(inner) => inner.to_string().to_lowercase(),
        None => cause.to_string().to_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Limits {
        Limits { connect: Duration::from_secs(3), unacknowledged: Duration::from_secs(20) }
    }

    #[tokio::test]
    async fn a_machine_that_is_silent_is_noticed_by_probes_and_by_what_it_does_not_acknowledge() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        for (unacknowledged, pause, whole) in
            [(20, 5, 20_000), (2, 1, 2_000), (u64::MAX, 32_767, i32::MAX.unsigned_abs())]
        {
            notice_loss(&stream, Duration::from_secs(unacknowledged)).unwrap();
            assert!(sockopt::socket_keepalive(&stream).unwrap());
            assert_eq!(sockopt::tcp_keepidle(&stream).unwrap(), Duration::from_secs(pause));
            assert_eq!(sockopt::tcp_keepintvl(&stream).unwrap(), Duration::from_secs(pause));
            assert_eq!(sockopt::tcp_user_timeout(&stream).unwrap(), whole);
        }
    }

    #[tokio::test]
    async fn a_refused_connection_says_where_and_why() {
        let silent = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        silent.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        let endpoint = Endpoint::Inet(silent.local_addr().unwrap().as_socket().unwrap());
        let error = connect(&endpoint, None, limits()).await.unwrap_err();
        assert!(error.to_string().contains(&endpoint.to_string()), "{error}");
        assert!(error.to_string().contains("refused"), "{error}");
    }
}
