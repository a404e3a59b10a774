//! Why a handshake with a client failed: a kind for the metric, a text for the log, and the connection to end in peace.

use crate::net::Transport;
use crate::observe::metrics::HandshakeFailure;
use std::borrow::Cow;
use std::io;
use std::time::Duration;

use rustls::{AlertDescription, CertificateError, Error, InvalidMessage, PeerIncompatible};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Bytes that are still taken from a client after its handshake failed.
const MAX_DRAINED: usize = 64 * 1024;

/// A handshake that failed.
#[derive(Debug, thiserror::Error)]
#[error("{detail}")]
pub struct HandshakeError {
    pub kind: HandshakeFailure,
    pub detail: Cow<'static, str>,
    transport: Option<Box<Transport>>,
}

impl HandshakeError {
    pub(super) fn new(
        kind: HandshakeFailure,
        detail: impl Into<Cow<'static, str>>,
        transport: Option<Transport>,
    ) -> Self {
        Self { kind, detail: detail.into(), transport: transport.map(Box::new) }
    }

    pub(super) fn of(error: &io::Error, transport: Option<Transport>) -> Self {
        let (kind, detail) = classify(error);
        Self::new(kind, detail, transport)
    }

    /// The caller gave up on the handshake, and with it on the connection.
    pub fn timed_out() -> Self {
        Self::new(HandshakeFailure::Timeout, "the handshake took too long", None)
    }

    /// The connection, if it may still be written to. After `PlainHttp` every byte of the client can be read from it.
    pub fn into_transport(self) -> Option<Transport> {
        self.transport.map(|transport| *transport)
    }

    /// Ends the connection so that the client reads our alert: a close with unread bytes would reset it away.
    pub async fn close(self, grace: Duration) {
        let Some(mut transport) = self.transport else { return };
        if transport.shutdown().await.is_err() {
            return;
        }
        let drain = async {
            let mut left = MAX_DRAINED;
            let mut block = [0; 1024];
            while left > 0 {
                match transport.read(&mut block).await {
                    Ok(0) | Err(_) => break,
                    Ok(count) => left = left.saturating_sub(count),
                }
            }
        };
        // When the grace is over the rest is the client's loss.
        let _ = tokio::time::timeout(grace, drain).await;
    }
}

fn classify(error: &io::Error) -> (HandshakeFailure, Cow<'static, str>) {
    use HandshakeFailure as F;
    if let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        return classify_tls(error);
    }
    match error.kind() {
        io::ErrorKind::UnexpectedEof => (F::ClientClosed, "the client closed during the handshake".into()),
        io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted | io::ErrorKind::BrokenPipe => {
            (F::ClientClosed, "the client reset the connection during the handshake".into())
        }
        io::ErrorKind::TimedOut => {
            (F::ClientClosed, "the client's network went silent during the handshake".into())
        }
        _ => (F::Internal, format!("the handshake failed: {error}").into()),
    }
}

fn classify_tls(error: &Error) -> (HandshakeFailure, Cow<'static, str>) {
    use HandshakeFailure as F;
    match error {
        Error::PeerIncompatible(why) => match why {
            PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
            | PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::SupportedVersionsExtensionRequired
            // Clients of TLS 1.1 send none; rustls looks for them before it compares versions.
            | PeerIncompatible::SignatureAlgorithmsExtensionRequired => {
                (F::NoSharedVersion, "the client offers no TLS version that is allowed here (min_version)".into())
            }
            why => (F::NoSharedCipher, format!("the client and this listener have too little in common: {why:?}").into()),
        },
        Error::NoApplicationProtocol => {
            (F::NoSharedProtocol, "the client offers no application protocol that is spoken here".into())
        }
        Error::NoCertificatesPresented => (
            F::ClientCertificateMissing,
            "the client showed no certificate, and client_auth requires one".into(),
        ),
        Error::InvalidCertificate(why) => (F::ClientCertificateInvalid, client_certificate(why).into()),
        Error::AlertReceived(alert) => match alert {
            AlertDescription::UnknownCA => {
                (F::CertificateRefused, "the client does not know the authority of our certificate".into())
            }
            AlertDescription::BadCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnsupportedCertificate => (
                F::CertificateRefused,
                format!("the client does not accept our certificate ({alert:?})").into(),
            ),
            AlertDescription::CertificateExpired | AlertDescription::CertificateRevoked => {
                (F::CertificateRefused, format!("the client found our certificate bad ({alert:?})").into())
            }
            AlertDescription::CloseNotify | AlertDescription::UserCanceled => {
                (F::ClientClosed, "the client closed during the handshake".into())
            }
            alert => (F::Alert, format!("the client ended the handshake with the alert {alert:?}").into()),
        },
        Error::InvalidMessage(
            InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion,
        ) => (F::NotTls, "what the client sent is not TLS".into()),
        Error::FailedToGetCurrentTime | Error::FailedToGetRandomBytes | Error::General(_) => {
            (F::Internal, format!("the handshake failed here: {error}").into())
        }
        error => (F::Protocol, format!("the client broke the protocol: {error}").into()),
    }
}

fn client_certificate(why: &CertificateError) -> String {
    match why {
        CertificateError::UnknownIssuer => {
            "the client's certificate was not issued by an authority in client_auth.ca".to_owned()
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "the client's certificate has expired".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "the client's certificate is not valid yet".to_owned()
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "the client's certificate is not made for clients (extendedKeyUsage lacks clientAuth)".to_owned()
        }
        CertificateError::BadSignature => "a signature in the client's certificate is wrong".to_owned(),
        why => format!("the client's certificate does not hold: {why}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_tell_who_is_at_fault() {
        let kind = |error: Error| classify(&io::Error::new(io::ErrorKind::InvalidData, error)).0;
        use HandshakeFailure as F;
        assert_eq!(kind(Error::AlertReceived(AlertDescription::UnknownCA)), F::CertificateRefused);
        assert_eq!(kind(Error::AlertReceived(AlertDescription::DecodeError)), F::Alert);
        assert_eq!(kind(Error::NoCertificatesPresented), F::ClientCertificateMissing);
        assert_eq!(
            kind(Error::PeerIncompatible(PeerIncompatible::NoCipherSuitesInCommon)),
            F::NoSharedCipher
        );
        assert_eq!(kind(Error::FailedToGetRandomBytes), F::Internal);
        assert_eq!(kind(Error::DecryptError), F::Protocol);
        assert_eq!(classify(&io::ErrorKind::ConnectionReset.into()).0, F::ClientClosed);
    }
}
