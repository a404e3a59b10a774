//! Handshakes of rustls clients, and of bytes that are none, with a `Terminator` over socket pairs and loopback.

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::{CipherSuite, ClientConfig, NamedGroup, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;
use tokio_rustls::client;

use super::*;
use crate::tls::HTTP1;
use crate::tls::spec::CertificateSpec;
use crate::tls::testing::{Authority, Files, days, identity, pair};

const NOW: u64 = 20_000;

struct Site {
    files: Files,
    authority: Authority,
    spec: Spec,
}

impl Site {
    /// A listener's TLS with one certificate for each list of names.
    fn new(names: &[&[&str]]) -> Self {
        let files = Files::new();
        let authority = files.authority("root");
        let certificates = names.iter().map(|names| files.signed(&authority, names, |_| {})).collect();
        Self {
            files,
            authority,
            spec: Spec { certificates, min_version: MinVersion::Tls12, client_auth: None },
        }
    }

    fn client_auth(mut self, authority: &Authority, mode: ClientAuthMode) -> Self {
        self.spec.client_auth = Some(ClientAuthSpec { ca: authority.file.clone(), mode });
        self
    }

    fn terminator(&self) -> Terminator {
        Terminator::build(&self.spec, &[HTTP1], days(NOW), None).unwrap().0
    }

    fn client(&self) -> Client {
        Client { roots: self.authority.roots(), versions: BOTH, identity: None }
    }
}

struct Client {
    roots: Arc<RootCertStore>,
    versions: &'static [&'static rustls::SupportedProtocolVersion],
    identity: Option<CertificateSpec>,
}

impl Client {
    fn only(mut self, version: &'static [&'static rustls::SupportedProtocolVersion]) -> Self {
        self.versions = version;
        self
    }

    fn showing(mut self, identity: CertificateSpec) -> Self {
        self.identity = Some(identity);
        self
    }

    fn config(self) -> ClientConfig {
        self.config_with(provider())
    }

    fn config_with(self, provider: Arc<CryptoProvider>) -> ClientConfig {
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(self.versions)
            .unwrap()
            .with_root_certificates(self.roots);
        let mut config = match &self.identity {
            None => builder.with_no_client_auth(),
            Some(spec) => {
                let (chain, key) = identity(spec);
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        };
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config
    }
}

const BOTH: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];
const TLS12: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS12];
const TLS13: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS13];

type ClientEnd = io::Result<client::TlsStream<Transport>>;

/// One handshake; the client also reads until the server's first byte, which brings the tickets.
async fn meet(
    terminator: &Terminator,
    config: &Arc<ClientConfig>,
    name: &str,
) -> (Result<Session, HandshakeError>, ClientEnd) {
    let (ours, theirs) = pair();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let server = async {
        let (mut stream, session) = terminator.accept(ours).await?;
        stream.write_all(b"x").await.unwrap();
        stream.flush().await.unwrap();
        Ok(session)
    };
    let client = async {
        let mut stream = TlsConnector::from(config.clone()).connect(name, theirs).await?;
        let mut byte = [0];
        stream.read_exact(&mut byte).await?;
        Ok(stream)
    };
    tokio::join!(server, client)
}

async fn session(terminator: &Terminator, config: ClientConfig, name: &str) -> Session {
    meet(terminator, &Arc::new(config), name).await.0.unwrap()
}

async fn failure(terminator: &Terminator, config: ClientConfig) -> HandshakeError {
    meet(terminator, &Arc::new(config), "a.example").await.0.unwrap_err()
}

#[tokio::test]
async fn the_key_exchange_is_post_quantum_and_the_protocol_http_1_1() {
    let site = Site::new(&[&["a.example"]]);
    let (session, client) = meet(&site.terminator(), &Arc::new(site.client().config()), "a.example").await;
    let session = session.unwrap();
    assert_eq!((session.version, session.resumed, session.protocol), ("TLSv1.3", false, Some(HTTP1)));
    assert_eq!(session.server_name.as_deref(), Some("a.example"));
    assert_eq!(session.client, None);
    let client = client.unwrap();
    let group = client.get_ref().1.negotiated_key_exchange_group().unwrap().name();
    assert_eq!(group, NamedGroup::X25519MLKEM768);
}

#[tokio::test]
async fn a_client_without_post_quantum_groups_is_served_by_x25519() {
    let site = Site::new(&[&["a.example"]]);
    let mut old = rustls::crypto::aws_lc_rs::default_provider();
    old.kx_groups.retain(|group| group.name() == NamedGroup::X25519);
    let config = Arc::new(site.client().config_with(Arc::new(old)));
    let (session, client) = meet(&site.terminator(), &config, "a.example").await;
    session.unwrap();
    let group = client.unwrap().get_ref().1.negotiated_key_exchange_group().unwrap().name();
    assert_eq!(group, NamedGroup::X25519);
}

#[tokio::test]
async fn the_name_asked_for_picks_the_certificate() {
    let site = Site::new(&[&["a.example"], &["*.b.example"], &["www.b.example"]]);
    let terminator = site.terminator();
    for (name, place) in [("a.example", 0), ("api.b.example", 1), ("www.b.example", 2)] {
        for versions in [TLS12, TLS13] {
            // The client verifies the name, so it did get that certificate.
            let session = session(&terminator, site.client().only(versions).config(), name).await;
            assert_eq!(session.certificate, place, "{name}");
        }
    }
}

#[tokio::test]
async fn the_place_in_the_session_is_that_of_the_certificate_sent() {
    let mut site = Site::new(&[&["a.example"]]);
    site.spec.certificates.push(site.files.signed_rsa(&site.authority, &["a.example"]));
    let terminator = site.terminator();
    let ecdsa = session(&terminator, site.client().only(TLS12).config(), "a.example").await;
    assert_eq!(ecdsa.certificate, 0);
    // A client of TLS 1.2 whose suites leave RSA alone, though its schemes name both.
    let mut rsa = rustls::crypto::aws_lc_rs::default_provider();
    rsa.cipher_suites.retain(|suite| suite.suite() == CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256);
    let config = Arc::new(site.client().only(TLS12).config_with(Arc::new(rsa)));
    let (session, client) = meet(&terminator, &config, "a.example").await;
    let sent = client.unwrap().get_ref().1.peer_certificates().unwrap()[0].clone();
    assert_eq!(sent, identity(&site.spec.certificates[1]).0[0]);
    assert_eq!(session.unwrap().certificate, 1);
}

/// What comes in the first flight can be replayed by anyone who recorded it.
#[tokio::test]
async fn no_early_data_is_taken() {
    let site = Site::new(&[&["a.example"]]);
    let terminator = site.terminator();
    let mut config = site.client().only(TLS13).config();
    config.resumption = Resumption::in_memory_sessions(8);
    config.enable_early_data = true;
    let config = Arc::new(config);
    assert!(!meet(&terminator, &config, "a.example").await.0.unwrap().resumed);
    // With the ticket at hand: the client would send early data if the ticket allowed any.
    let name = ServerName::try_from("a.example").unwrap();
    let mut client = rustls::ClientConnection::new(config.clone(), name).unwrap();
    assert!(client.early_data().is_none());
    assert!(meet(&terminator, &config, "a.example").await.0.unwrap().resumed);
}

#[test]
fn a_session_resumes_on_another_thread_in_both_versions() {
    let site = Site::new(&[&["a.example"]]);
    let terminator = site.terminator();
    for versions in [TLS12, TLS13] {
        let mut config = site.client().only(versions).config();
        config.resumption = Resumption::in_memory_sessions(8);
        let config = Arc::new(config);
        let on_thread = || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(meet(&terminator, &config, "a.example")).0.unwrap()
        };
        let first = std::thread::scope(|scope| scope.spawn(on_thread).join().unwrap());
        let second = std::thread::scope(|scope| scope.spawn(on_thread).join().unwrap());
        assert_eq!((first.resumed, second.resumed), (false, true), "{}", first.version);
        assert_eq!(second.certificate, first.certificate);
    }
}

#[tokio::test]
async fn a_client_of_tls_1_2_without_tickets_resumes_from_the_cache() {
    let site = Site::new(&[&["a.example"]]);
    let terminator = site.terminator();
    let mut config = site.client().only(TLS12).config();
    config.resumption =
        Resumption::in_memory_sessions(8).tls12_resumption(rustls::client::Tls12Resumption::SessionIdOnly);
    let config = Arc::new(config);
    assert!(!meet(&terminator, &config, "a.example").await.0.unwrap().resumed);
    assert!(meet(&terminator, &config, "a.example").await.0.unwrap().resumed);
}

#[tokio::test]
async fn a_session_of_one_listener_does_not_resume_on_another() {
    let site = Site::new(&[&["a.example"]]);
    let config = Arc::new(site.client().config());
    assert!(!meet(&site.terminator(), &config, "a.example").await.0.unwrap().resumed);
    assert!(!meet(&site.terminator(), &config, "a.example").await.0.unwrap().resumed);
}

#[tokio::test]
async fn versions_below_the_minimum_are_refused() {
    let mut site = Site::new(&[&["a.example"]]);
    site.spec.min_version = MinVersion::Tls13;
    let terminator = site.terminator();
    let error = failure(&terminator, site.client().only(TLS12).config()).await;
    assert_eq!(error.kind, HandshakeFailure::NoSharedVersion);
    assert_eq!(session(&terminator, site.client().config(), "a.example").await.version, "TLSv1.3");
}

/// A ClientHello of TLS 1.1 with one AES-CBC suite and no extensions (RFC 4346 section 7.4.1.2).
fn hello_1_1() -> Vec<u8> {
    let mut hello = vec![3, 2];
    hello.extend([7; 32]);
    hello.extend([0, 0, 2, 0xc0, 0x13, 1, 0]);
    let length = hello.len() as u8;
    let mut record = vec![0x16, 3, 1, 0, length + 4, 1, 0, 0, length];
    record.extend(hello);
    record
}

#[tokio::test]
async fn tls_1_1_is_refused_with_an_alert() {
    let site = Site::new(&[&["a.example"]]);
    let terminator = site.terminator();
    let (ours, mut theirs) = pair();
    theirs.write_all(&hello_1_1()).await.unwrap();
    let error = terminator.accept(ours).await.unwrap_err();
    assert_eq!(error.kind, HandshakeFailure::NoSharedVersion, "{error}");
    error.close(Duration::from_millis(1)).await;
    let mut alert = Vec::new();
    theirs.read_to_end(&mut alert).await.unwrap();
    // A fatal (2) handshake_failure (40): rustls misses the signature schemes of TLS 1.2 before it looks at the version.
    assert_eq!((alert[0], &alert[5..]), (0x15, &[2, 40][..]));
}

#[tokio::test]
async fn plain_http_is_recognised_and_every_byte_can_still_be_read() {
    let site = Site::new(&[&["a.example"]]);
    let terminator = site.terminator();
    for request in ["GET / HTTP/1.1\r\n\r\n", "P", "PRI * HTTP/2.0\r\n"] {
        let (ours, mut theirs) = pair();
        theirs.write_all(request.as_bytes()).await.unwrap();
        theirs.shutdown().await.unwrap();
        let error = terminator.accept(ours).await.unwrap_err();
        assert_eq!(error.kind, HandshakeFailure::PlainHttp, "{request}");
        let mut text = String::new();
        error.into_transport().unwrap().read_to_string(&mut text).await.unwrap();
        assert_eq!(text, request);
    }
}

#[tokio::test]
async fn what_is_no_tls_and_clients_that_leave_are_told_apart() {
    let site = Site::new(&[&["a.example"]]);
    let terminator = site.terminator();
    let hello = hello_1_1();
    let table: [(&[u8], HandshakeFailure); 6] = [
        (b"", HandshakeFailure::Silent),
        (b"SSH-2.0-x\r\n", HandshakeFailure::NotTls),
        (b"GETX", HandshakeFailure::NotTls),
        (b"\x00\x00", HandshakeFailure::NotTls),
        (&hello[..20], HandshakeFailure::ClientClosed),
        (b"\x16\x03\x01\x00\x05\x02\x00\x00\x01\x00", HandshakeFailure::Protocol),
    ];
    for (bytes, kind) in table {
        let (ours, mut theirs) = pair();
        theirs.write_all(bytes).await.unwrap();
        theirs.shutdown().await.unwrap();
        assert_eq!(terminator.accept(ours).await.unwrap_err().kind, kind, "{bytes:?}");
    }
}

#[tokio::test]
async fn a_hello_in_single_bytes_is_still_a_hello() {
    let site = Site::new(&[&["a.example"]]);
    let terminator = site.terminator();
    let (ours, mut theirs) = pair();
    let write = async {
        for byte in hello_1_1() {
            theirs.write_all(&[byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
    };
    let (outcome, ()) = tokio::join!(terminator.accept(ours), write);
    assert_eq!(outcome.unwrap_err().kind, HandshakeFailure::NoSharedVersion);
}

#[tokio::test]
async fn a_client_that_does_not_trust_our_authority_is_named_so() {
    let site = Site::new(&[&["a.example"]]);
    let other = site.files.authority("other");
    let client = Client { roots: other.roots(), ..site.client() };
    let error = failure(&site.terminator(), client.config()).await;
    assert_eq!(error.kind, HandshakeFailure::CertificateRefused);
    assert_eq!(error.to_string(), "the client does not know the authority of our certificate");
}

#[tokio::test]
async fn required_client_certificates_must_be_shown_and_valid() {
    let site = Site::new(&[&["a.example"]]);
    let (clients, others) = (site.files.authority("clients"), site.files.authority("others"));
    let site = site.client_auth(&clients, ClientAuthMode::Required);
    let terminator = site.terminator();
    let alice = site.files.signed(&clients, &[], |params| {
        params.distinguished_name.push(rcgen::DnType::CommonName, "Alice");
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    });
    let mallory = site.files.signed(&others, &["a.example"], |_| {});
    let server_only = site.files.signed(&clients, &["a.example"], |params| {
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    });
    let expired = site.files.signed(&clients, &["a.example"], |params| {
        params.not_after = rcgen::date_time_ymd(2000, 1, 1);
    });
    for versions in [TLS12, TLS13] {
        let error = failure(&terminator, site.client().only(versions).config()).await;
        assert_eq!(error.kind, HandshakeFailure::ClientCertificateMissing);
        for (identity, part) in
            [(&mallory, "not issued by"), (&server_only, "not made for clients"), (&expired, "has expired")]
        {
            let error =
                failure(&terminator, site.client().only(versions).showing(identity.clone()).config()).await;
            assert_eq!(error.kind, HandshakeFailure::ClientCertificateInvalid);
            assert!(error.to_string().contains(part), "{error}");
        }
        let config = Arc::new(site.client().only(versions).showing(alice.clone()).config());
        for resumed in [false, true] {
            let session = meet(&terminator, &config, "a.example").await.0.unwrap();
            assert_eq!(session.resumed, resumed);
            let client = session.client.unwrap();
            assert!(client.subject.starts_with("CN=Alice"), "{}", client.subject);
            assert_eq!(client, ClientCertificate::of(&identity(&alice).0[0]));
        }
    }
}

#[tokio::test]
async fn optional_client_certificates_may_be_missing_but_not_wrong() {
    let site = Site::new(&[&["a.example"]]);
    let (clients, others) = (site.files.authority("clients"), site.files.authority("others"));
    let site = site.client_auth(&clients, ClientAuthMode::Optional);
    let terminator = site.terminator();
    assert_eq!(session(&terminator, site.client().config(), "a.example").await.client, None);
    let good = site.files.signed(&clients, &["x"], |_| {});
    assert!(session(&terminator, site.client().showing(good).config(), "a.example").await.client.is_some());
    let wrong = site.files.signed(&others, &["x"], |_| {});
    let error = failure(&terminator, site.client().showing(wrong).config()).await;
    assert_eq!(error.kind, HandshakeFailure::ClientCertificateInvalid);
}

#[tokio::test]
async fn a_refused_client_that_has_sent_its_request_still_reads_the_alert() {
    let site = Site::new(&[&["a.example"]]);
    let clients = site.files.authority("clients");
    let site = site.client_auth(&clients, ClientAuthMode::Required);
    let terminator = site.terminator();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = async {
        let (transport, _) = listener.accept().await.unwrap();
        let error = terminator.accept(transport.into()).await.unwrap_err();
        error.close(Duration::from_secs(5)).await;
    };
    let client = async {
        let transport = tokio::net::TcpStream::connect(address).await.unwrap();
        let connector = TlsConnector::from(Arc::new(site.client().only(TLS13).config()));
        let mut stream =
            connector.connect(ServerName::try_from("a.example").unwrap(), transport).await.unwrap();
        stream.write_all(&[b'x'; 8192]).await.unwrap();
        stream.read(&mut [0]).await.unwrap_err().to_string()
    };
    let ((), error) = tokio::join!(server, client);
    assert!(error.contains("CertificateRequired"), "{error}");
}

#[tokio::test]
async fn a_request_is_misdirected_only_if_another_certificate_would_answer_its_host() {
    let site = Site::new(&[&["a.example", "both.example"], &["b.example", "both.example"], &["*.c.example"]]);
    let terminator = site.terminator();
    let asked = |name: Option<&str>, certificate| Session {
        version: "TLSv1.3",
        server_name: name.map(Into::into),
        certificate,
        client: None,
        resumed: false,
        protocol: None,
    };
    let table = [
        (Some("a.example"), 0, "a.example", false),
        (Some("a.example"), 0, "both.example", false),
        (Some("a.example"), 0, "b.example", true),
        (Some("b.example"), 1, "both.example", false),
        (Some("b.example"), 1, "a.example", true),
        (Some("x.c.example"), 2, "y.c.example", false),
        (Some("x.c.example"), 2, "c.example", true),
        // A name that no certificate is for gets the first, and so would this host.
        (Some("unknown.example"), 0, "other.example", false),
        (Some("b.example"), 1, "other.example", true),
        (Some("b.example"), 1, "B.example.", false),
        (None, 0, "b.example", false),
    ];
    for (name, certificate, host, misdirected) in table {
        assert_eq!(terminator.misdirects(&asked(name, certificate), host), misdirected, "{name:?} {host}");
    }
    assert_eq!(terminator.selects("both.example"), 0);
}

#[tokio::test]
async fn certificates_are_swapped_for_new_handshakes_and_not_at_all_when_one_is_wrong() {
    let site = Site::new(&[&["a.example"]]);
    let terminator = site.terminator();
    let renewed = site.files.signed(&site.authority, &["a.example", "new.example"], |params| {
        params.not_after = rcgen::date_time_ymd(2030, 1, 1);
    });
    let current = &site.spec.certificates[0];
    std::fs::copy(&renewed.cert, &current.cert).unwrap();
    let errors = terminator.read_again(days(NOW)).unwrap_err();
    assert_eq!(errors[0].at, "certificates[0].key");
    let (_, refused) = meet(&terminator, &Arc::new(site.client().config()), "new.example").await;
    assert!(refused.is_err());

    std::fs::copy(&renewed.key, &current.key).unwrap();
    let renewal = terminator.read_again(days(NOW)).unwrap();
    assert_eq!(renewal.warnings, []);
    terminator.renew(renewal);
    session(&terminator, site.client().config(), "new.example").await;
    assert_eq!(terminator.expiries()[0].not_after, 1_893_456_000);
}

#[test]
fn every_wrong_file_is_an_error_of_one_build() {
    let site = Site::new(&[&["a.example"], &["b.example"]]);
    let mut spec = site.spec.clone();
    spec.certificates[0].key = spec.certificates[1].key.clone();
    spec.certificates[1].cert = site.files.path("nowhere.crt");
    spec.client_auth =
        Some(ClientAuthSpec { ca: spec.certificates[1].key.clone(), mode: ClientAuthMode::Required });
    let errors = Terminator::build(&spec, &[HTTP1], days(NOW), None).unwrap_err();
    let places: Vec<&str> = errors.iter().map(|error| error.at.as_str()).collect();
    assert_eq!(places, ["certificates[0].key", "certificates[1].cert", "client_auth.ca"]);
    assert!(errors[2].message.ends_with("holds no certificate, but a private key"), "{}", errors[2]);
}

#[test]
fn warnings_do_not_keep_a_listener_from_serving() {
    let mut site = Site::new(&[]);
    site.spec.certificates.push(site.files.signed(&site.authority, &["a.example"], |params| {
        params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    }));
    let (_, warnings) = Terminator::build(&site.spec, &[HTTP1], days(NOW), None).unwrap();
    assert_eq!(warnings.len(), 1);
    assert_eq!(warnings[0].at, "certificates[0].cert");
    assert!(warnings[0].message.contains("expired on 2020-01-01T00:00:00Z; clients refuse it"));
}
