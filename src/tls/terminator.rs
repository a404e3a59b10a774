//! Ends TLS for the clients of one listener.
//!
//! One for all engine threads: tickets and sessions made on one thread resume on every other. It knows no time:
//! the deadline of a handshake is the caller's, who drops the future.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::ready;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::crypto::CryptoProvider;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ServerSessionMemoryCache, StoresServerSessions, WebPkiClientVerifier};
use rustls::{
    HandshakeKind, ProtocolVersion, ServerConfig, ServerConnection, SignatureScheme, SupportedCipherSuite,
};
use tokio::io::{AsyncRead, ReadBuf};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use super::certificate::Expiry;
use super::certificates::Certificates;
use super::spec::{ClientAuthMode, ClientAuthSpec, MinVersion, Spec};
use super::tickets::{TicketKey, Tickets};
use super::{
    BUFFER_LIMIT, BuildError, ClientCertificate, HandshakeError, HandshakeFailure, Warning, provider,
    read_authorities,
};
use crate::net::Transport;

/// Sessions of TLS 1.2 clients that know no tickets; all others keep their own state. About 1 MiB when full.
const SESSIONS: usize = 2048;

/// Tickets after a TLS 1.3 handshake: browsers open a few connections at once and use a ticket for one only.
const TICKETS: usize = 2;

/// Most of a first read: a ClientHello with a post-quantum key share is about 1.8 KiB.
const FIRST_READ: usize = 4096;

/// Ends TLS for the clients of one listener.
#[derive(Debug)]
pub struct Terminator {
    plan: ArcSwap<Plan>,
    base: Base,
}

/// What a finished handshake agreed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// `TLSv1.2` or `TLSv1.3`.
    pub version: &'static str,
    /// The name the client asked for (SNI), in lower case.
    pub server_name: Option<Box<str>>,
    /// The place in `certificates` of the one that was picked.
    pub certificate: usize,
    /// The client's certificate, verified; `None` without `client_auth` or when it is optional and there was none.
    pub client: Option<ClientCertificate>,
    /// Whether an earlier session was taken up again.
    pub resumed: bool,
    /// The application protocol agreed on (ALPN); `None` when the client did not ask.
    pub protocol: Option<&'static [u8]>,
}

/// What one handshake sees, whatever is swapped meanwhile.
#[derive(Debug)]
struct Plan {
    certificates: Arc<Certificates>,
    config: Arc<ServerConfig>,
    trust: Trust,
}

/// What stays when certificates are swapped.
#[derive(Debug)]
struct Base {
    spec: Spec,
    provider: Arc<CryptoProvider>,
    protocols: &'static [&'static [u8]],
}

/// Whom a listener lets in, and what it remembers of whom it has let in.
#[derive(Clone, Debug)]
struct Trust {
    /// The text of `client_auth.ca`.
    authorities: Option<Vec<u8>>,
    mode: Option<ClientAuthMode>,
    clients: Arc<dyn ClientCertVerifier>,
    // Never shared between listeners: a session that one let in without a client certificate would resume on another.
    tickets: Arc<Tickets>,
    sessions: Arc<dyn StoresServerSessions>,
}

/// Files of a listener read anew, not yet in use.
#[derive(Debug)]
pub struct Renewal {
    plan: Plan,
    pub warnings: Vec<Warning>,
}

impl Terminator {
    /// Reads and checks every file of `spec`. `protocols` are ALPN names in order of preference, `now` is the time
    /// since 1970. Sessions of `before` are known here too, as long as the same clients are let in. The errors are all
    /// there are, not the first.
    pub fn build(
        spec: &Spec,
        protocols: &'static [&'static [u8]],
        now: Duration,
        before: Option<&Self>,
    ) -> Result<(Self, Vec<Warning>), Vec<BuildError>> {
        let base = Base { spec: spec.clone(), provider: provider(), protocols };
        let before = before.map(|before| before.plan.load_full());
        let renewal = base.read(now, before.as_ref().map(|before| &before.trust))?;
        Ok((Self { plan: ArcSwap::from_pointee(renewal.plan), base }, renewal.warnings))
    }

    /// Reads every file again; nothing has changed yet.
    pub fn read_again(&self, now: Duration) -> Result<Renewal, Vec<BuildError>> {
        self.base.read(now, Some(&self.plan.load().trust))
    }

    /// Takes what was read; connections keep what they have.
    pub fn renew(&self, renewal: Renewal) {
        self.plan.store(Arc::new(renewal.plan));
    }

    /// What another process needs to take up sessions of this one: the keys of tickets, and a name for who is let in,
    /// since a session of somebody who would not be let in must not go on.
    pub fn ticket_keys(&self) -> (String, Vec<TicketKey>) {
        let plan = self.plan.load();
        (plan.trust.name(), plan.trust.tickets.keys())
    }

    /// Takes up sessions of another process that lets the same clients in.
    pub fn take_ticket_keys(&self, trust: &str, keys: Vec<TicketKey>) {
        let plan = self.plan.load();
        if plan.trust.name() == trust {
            plan.trust.tickets.take(keys);
        }
    }

    /// Takes a connection through the handshake.
    ///
    /// Cancel-safe in that a dropped future closes the connection.
    pub async fn accept(
        &self,
        mut transport: Transport,
    ) -> Result<(TlsStream<Transport>, Session), HandshakeError> {
        match read_first(&mut transport).await {
            Ok(First::Tls) => {}
            Ok(First::Nothing) => {
                return Err(HandshakeError::new(
                    HandshakeFailure::Silent,
                    "the client closed without a byte",
                    None,
                ));
            }
            Ok(First::Http) => {
                let detail = "the client spoke HTTP without TLS";
                return Err(HandshakeError::new(HandshakeFailure::PlainHttp, detail, Some(transport)));
            }
            Ok(First::Other) => {
                let detail = "what the client sent is not TLS";
                return Err(HandshakeError::new(HandshakeFailure::NotTls, detail, None));
            }
            // A health check that connects and resets.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                return Err(HandshakeError::new(
                    HandshakeFailure::Silent,
                    "the client reset without a byte",
                    None,
                ));
            }
            Err(error) => return Err(HandshakeError::of(&error, None)),
        }
        // Boxed: its 5 KiB would stay in the connection's task for as long as that lives.
        Box::pin(self.shake_hands(transport)).await
    }

    async fn shake_hands(
        &self,
        transport: Transport,
    ) -> Result<(TlsStream<Transport>, Session), HandshakeError> {
        let mut acceptor = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), transport);
        let start = match (&mut acceptor).await {
            Ok(start) => start,
            Err(error) => return Err(HandshakeError::of(&error, acceptor.take_io())),
        };
        let plan = self.plan.load_full();
        let schemes = start.client_hello().signature_schemes().to_vec();
        let limit = |connection: &mut ServerConnection| connection.set_buffer_limit(Some(BUFFER_LIMIT));
        match start.into_stream_with(plan.config.clone(), limit).into_fallible().await {
            Ok(stream) => {
                let session = self.session(&plan.certificates, stream.get_ref().1, &schemes);
                Ok((stream, session))
            }
            Err((error, transport)) => Err(HandshakeError::of(&error, Some(transport))),
        }
    }

    /// The place of the certificate that `host` (without port) selects by SNI.
    pub fn selects(&self, host: &str) -> usize {
        self.plan.load().certificates.selects(host)
    }

    /// Whether a request for `host` belongs on another connection, to be answered 421 (RFC 9110 section 15.5.20): the
    /// client asked for another name, and the certificate it got is none that `host` could have got.
    pub fn misdirects(&self, session: &Session, host: &str) -> bool {
        match &session.server_name {
            None => false,
            Some(name) => **name != *host && !self.plan.load().certificates.suits(session.certificate, host),
        }
    }

    /// When each certificate ends; for metrics.
    pub fn expiries(&self) -> Vec<Expiry> {
        self.plan.load().certificates.expiries()
    }

    fn session(
        &self,
        certificates: &Certificates,
        connection: &ServerConnection,
        schemes: &[SignatureScheme],
    ) -> Session {
        let server_name = connection.server_name();
        // rustls does not say which certificate it sent. In TLS 1.2 the cipher suite fixes the kind of key; in 1.3 all
        // the client's schemes counted.
        let certificate = match connection.negotiated_cipher_suite() {
            Some(SupportedCipherSuite::Tls12(suite)) => {
                certificates.pick(server_name, &suite.resolve_sig_schemes(schemes))
            }
            _ => certificates.pick(server_name, schemes),
        };
        let protocol = connection.alpn_protocol();
        Session {
            version: match connection.protocol_version() {
                Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
                _ => "TLSv1.3",
            },
            server_name: server_name.map(Into::into),
            certificate,
            client: connection
                .peer_certificates()
                .and_then(|chain| chain.first())
                .map(|leaf| ClientCertificate::of(leaf)),
            resumed: connection.handshake_kind() == Some(HandshakeKind::Resumed),
            protocol: self.base.protocols.iter().copied().find(|name| Some(*name) == protocol),
        }
    }
}

impl Trust {
    fn name(&self) -> String {
        let authorities = self.authorities.as_deref().unwrap_or_default();
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, authorities);
        format!("{:?} {:?}", self.mode, digest)
    }
}

impl Base {
    fn read(&self, now: Duration, before: Option<&Trust>) -> Result<Renewal, Vec<BuildError>> {
        let certificates = Certificates::load(&self.spec.certificates, &self.provider);
        let trust = self.trust(before);
        let (certificates, trust) = match (certificates, trust) {
            (Ok(certificates), Ok(trust)) => (certificates, trust),
            (certificates, trust) => {
                let errors = certificates.err().unwrap_or_default();
                return Err(errors.into_iter().chain(trust.err()).collect());
            }
        };
        let warnings = certificates.warnings(now);
        let plan = self.plan(certificates, trust).map_err(|error| vec![error])?;
        Ok(Renewal { plan, warnings })
    }

    /// A session that was begun with other authorities must not be taken up again.
    fn trust(&self, before: Option<&Trust>) -> Result<Trust, BuildError> {
        let auth = self.spec.client_auth.as_ref();
        let mode = auth.map(|auth| auth.mode);
        let authorities = auth.and_then(|auth| std::fs::read(&auth.ca).ok());
        if let Some(before) = before
            && (before.mode, &before.authorities) == (mode, &authorities)
        {
            return Ok(before.clone());
        }
        let tickets = Tickets::new().map_err(|error| {
            BuildError::new("certificates", format!("no keys for session tickets could be made: {error}"))
        })?;
        let tickets = Arc::new(tickets);
        let clients = verify_clients(auth, &self.provider)?;
        Ok(Trust { authorities, mode, clients, tickets, sessions: ServerSessionMemoryCache::new(SESSIONS) })
    }

    fn plan(&self, certificates: Certificates, trust: Trust) -> Result<Plan, BuildError> {
        let certificates = Arc::new(certificates);
        let versions: &[&rustls::SupportedProtocolVersion] = match self.spec.min_version {
            MinVersion::Tls12 => &[&rustls::version::TLS13, &rustls::version::TLS12],
            MinVersion::Tls13 => &[&rustls::version::TLS13],
        };
        let mut config = ServerConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(versions)
            .map_err(|error| BuildError::new("min_version", error))?
            .with_client_cert_verifier(trust.clients.clone())
            .with_cert_resolver(certificates.clone());
        config.alpn_protocols = self.protocols.iter().map(|name| name.to_vec()).collect();
        config.ticketer = trust.tickets.clone();
        config.session_storage = trust.sessions.clone();
        config.send_tls13_tickets = TICKETS;
        // Data in the first flight can be replayed by anyone who recorded it.
        config.max_early_data_size = 0;
        Ok(Plan { certificates, config: Arc::new(config), trust })
    }
}

fn verify_clients(
    spec: Option<&ClientAuthSpec>,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, BuildError> {
    let Some(spec) = spec else { return Ok(WebPkiClientVerifier::no_client_auth()) };
    let roots = read_authorities(&spec.ca).map_err(|error| BuildError::new("client_auth.ca", error))?;
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    let builder = match spec.mode {
        ClientAuthMode::Required => builder,
        ClientAuthMode::Optional => builder.allow_unauthenticated(),
    };
    builder.build().map_err(|error| {
        BuildError::new("client_auth.ca", format!("`{}` cannot be used: {error}", spec.ca.display()))
    })
}

/// What a connection begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum First {
    Nothing,
    Tls,
    Http,
    Other,
}

/// Looks at the first bytes before rustls does, which would answer plain HTTP with an alert; puts them back.
async fn read_first(transport: &mut Transport) -> io::Result<First> {
    // The block lives within one poll, so that a waiting connection does not hold it.
    poll_fn(|cx| {
        let mut block = [0; FIRST_READ];
        let mut read = ReadBuf::new(&mut block);
        ready!(Pin::new(&mut *transport).poll_read(cx, &mut read))?;
        let bytes = read.filled();
        transport.put_back(bytes);
        std::task::Poll::Ready(Ok(First::of(bytes)))
    })
    .await
}

impl First {
    fn of(bytes: &[u8]) -> Self {
        const METHODS: [&[u8]; 10] = [
            b"GET ",
            b"HEAD ",
            b"POST ",
            b"PUT ",
            b"DELETE ",
            b"OPTIONS ",
            b"PATCH ",
            b"CONNECT ",
            b"TRACE ",
            b"PRI * ",
        ];
        match bytes {
            [] => Self::Nothing,
            // A record of the handshake, or an alert (RFC 8446 section 5.1).
            [0x16 | 0x15, ..] => Self::Tls,
            bytes => {
                let starts =
                    |method: &&[u8]| bytes.iter().zip(method.iter()).all(|(byte, expected)| byte == expected);
                if METHODS.iter().any(starts) { Self::Http } else { Self::Other }
            }
        }
    }
}

#[cfg(test)]
mod tests;
