//! A new connection to a server, with its TLS handshake, within one deadline.

use std::io;
use std::time::Duration;

use pingora_core::protocols::l4::ext;
use pingora_core::protocols::l4::stream::Stream as Transport;

use super::ClientTls;
use crate::net::{Address, Endpoint, Stream};

/// Why no connection could be made. Nothing of a request was sent.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("no connection to {endpoint}: {reason}")]
    Refused { endpoint: Endpoint, reason: String },
    #[error("no connection to {endpoint} within {limit:?}")]
    Timeout { endpoint: Endpoint, limit: Duration },
    #[error("no TLS with {endpoint}: {reason}")]
    Tls { endpoint: Endpoint, reason: String },
}

/// For health checks, which tell a failed handshake by `InvalidData`.
impl From<ConnectError> for io::Error {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::Refused { reason, .. } => Self::new(io::ErrorKind::ConnectionRefused, reason),
            ConnectError::Timeout { .. } => Self::new(io::ErrorKind::TimedOut, error),
            ConnectError::Tls { reason, .. } => Self::new(io::ErrorKind::InvalidData, reason),
        }
    }
}

/// Connects to `endpoint`; with `tls`, also shakes hands for the name that the server was written with.
pub async fn connect(
    endpoint: &Endpoint,
    tls: Option<(&ClientTls, &Address)>,
    limit: Duration,
) -> Result<Stream, ConnectError> {
    let connecting = async {
        let transport = connect_transport(endpoint).await?;
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

async fn connect_transport(endpoint: &Endpoint) -> Result<Transport, ConnectError> {
    let refused = |reason: String| ConnectError::Refused { endpoint: endpoint.clone(), reason };
    match endpoint {
        Endpoint::Inet(address) => {
            let stream = ext::connect(address, None).await.map_err(|error| refused(explain(&error)))?;
            stream.set_nodelay(true).map_err(|error| refused(error.to_string()))?;
            Ok(stream.into())
        }
        Endpoint::Unix(path) => {
            let stream = ext::connect_uds(path).await.map_err(|error| refused(explain(&error)))?;
            Ok(stream.into())
        }
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

    #[tokio::test]
    async fn a_refused_connection_says_where_and_why() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = Endpoint::Inet(free.local_addr().unwrap());
        drop(free);
        let error = connect(&endpoint, None, Duration::from_secs(3)).await.unwrap_err();
        assert!(error.to_string().contains(&endpoint.to_string()), "{error}");
        assert!(error.to_string().contains("refused"), "{error}");
    }
}
