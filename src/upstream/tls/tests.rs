//! Handshakes of a pool's `ClientTls` with rustls servers over socket pairs.

use super::*;
use crate::tls::HTTP1;
use crate::tls::testing::{Authority, Files, identity, pair};
use rustls::server::WebPkiClientVerifier;
use rustls::{NamedGroup, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;

fn build(spec: &TlsSpec) -> ClientTls {
    ClientTls::build(spec, &[HTTP1], &SystemRoots::default()).unwrap()
}

fn trusting(authority: &Authority) -> TlsSpec {
    TlsSpec { ca: Some(authority.file.clone()), ..TlsSpec::default() }
}

fn server(spec: &CertificateSpec, clients: Option<&Authority>) -> ServerConfig {
    let builder =
        ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
    let verifier = match clients {
        None => WebPkiClientVerifier::no_client_auth(),
        Some(authority) => {
            WebPkiClientVerifier::builder_with_provider(authority.roots(), provider()).build().unwrap()
        }
    };
    let (chain, key) = identity(spec);
    let mut config = builder.with_client_cert_verifier(verifier).with_single_cert(chain, key).unwrap();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config
}

/// One handshake, and a byte from the server, which brings tickets and late alerts.
async fn meet(
    tls: &ClientTls,
    server: &Arc<ServerConfig>,
    address: &str,
) -> Result<TlsStream<Transport>, ConnectError> {
    let (ours, theirs) = pair();
    let name = tls.server_name(&address.parse().unwrap()).unwrap();
    let serve = async {
        if let Ok(mut stream) = TlsAcceptor::from(server.clone()).accept(theirs).await {
            stream.write_all(b"x").await.unwrap();
            stream.flush().await.unwrap();
        }
    };
    let connect = async {
        let mut stream = tls.connect(ours, &name).await?;
        stream.read_exact(&mut [0]).await.map_err(|error| classify(&error))?;
        Ok(stream)
    };
    tokio::join!(connect, serve).0
}

#[tokio::test]
async fn a_server_is_verified_by_its_name_and_sessions_resume() {
    let files = Files::new();
    let root = files.authority("root");
    let config = Arc::new(server(&files.signed(&root, &["app.internal", "10.0.0.1"], |_| {}), None));
    let tls = build(&trusting(&root));
    for address in ["app.internal:3000", "10.0.0.1:3000", "[::ffff:10.0.0.1]:3000"] {
        let stream = meet(&tls, &config, address).await.unwrap();
        let connection = stream.get_ref().1;
        assert_eq!(connection.alpn_protocol(), Some(HTTP1));
        assert_eq!(connection.negotiated_key_exchange_group().unwrap().name(), NamedGroup::X25519MLKEM768);
    }
    let again = meet(&tls, &config, "app.internal:3000").await.unwrap();
    assert_eq!(again.get_ref().1.handshake_kind(), Some(rustls::HandshakeKind::Resumed));
}

#[tokio::test]
async fn a_certificate_for_another_name_is_refused_and_the_error_tells_its_names() {
    let files = Files::new();
    let root = files.authority("root");
    let config = Arc::new(server(&files.signed(&root, &["a.internal", "10.0.0.9"], |_| {}), None));
    let error = meet(&build(&trusting(&root)), &config, "api.internal:3000").await.unwrap_err();
    assert_eq!(error.kind, ConnectFailure::Certificate);
    assert_eq!(
        error.to_string(),
        "the server's certificate is not valid for api.internal; it names a.internal, 10.0.0.9. If that is right, write tls.server_name"
    );
    let spec = TlsSpec { server_name: Some("A.internal.".to_owned()), ..trusting(&root) };
    meet(&build(&spec), &config, "api.internal:3000").await.unwrap();
}

#[tokio::test]
async fn what_is_wrong_with_a_certificate_is_said() {
    let files = Files::new();
    let (root, other) = (files.authority("root"), files.authority("other"));
    let tls = build(&trusting(&root));
    let expired =
        files.signed(&root, &["a.internal"], |params| params.not_after = rcgen::date_time_ymd(2001, 1, 1));
    let early =
        files.signed(&root, &["a.internal"], |params| params.not_before = rcgen::date_time_ymd(4000, 1, 1));
    let client = files.signed(&root, &["a.internal"], |params| {
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    });
    let foreign = files.signed(&other, &["a.internal"], |_| {});
    for (certificate, part) in [
        (expired, "has expired"),
        (early, "is not valid yet"),
        (client, "is not made for servers"),
        (foreign, "was not issued by an authority that is trusted here"),
    ] {
        let error = meet(&tls, &Arc::new(server(&certificate, None)), "a.internal:1").await.unwrap_err();
        assert_eq!(error.kind, ConnectFailure::Certificate);
        assert!(error.to_string().contains(part), "{error}");
    }
}

#[tokio::test]
async fn a_server_that_wants_a_certificate_gets_the_one_of_the_spec() {
    let files = Files::new();
    let (root, clients) = (files.authority("root"), files.authority("clients"));
    let config = Arc::new(server(&files.signed(&root, &["a.internal"], |_| {}), Some(&clients)));
    let without = meet(&build(&trusting(&root)), &config, "a.internal:1").await.unwrap_err();
    assert_eq!(without.kind, ConnectFailure::ClientCertificate);
    assert!(without.to_string().contains("write tls.cert and tls.key"), "{without}");
    let shown =
        |pair: CertificateSpec| TlsSpec { cert: Some(pair.cert), key: Some(pair.key), ..trusting(&root) };
    let wrong = shown(files.signed(&root, &["lintel"], |_| {}));
    let wrong = meet(&build(&wrong), &config, "a.internal:1").await.unwrap_err();
    assert_eq!(wrong.kind, ConnectFailure::ClientCertificate, "{wrong}");
    let right = shown(files.signed(&clients, &["lintel"], |_| {}));
    meet(&build(&right), &config, "a.internal:1").await.unwrap();
}

#[tokio::test]
async fn verification_is_off_only_where_it_is_written() {
    let files = Files::new();
    let config = Arc::new(server(&files.self_signed(&["other.internal"]), None));
    let root = files.authority("root");
    assert!(meet(&build(&trusting(&root)), &config, "a.internal:1").await.is_err());
    let system = SystemRoots::default();
    let spec = TlsSpec { insecure_skip_verify: true, ..TlsSpec::default() };
    let tls = ClientTls::build(&spec, &[HTTP1], &system).unwrap();
    meet(&tls, &config, "a.internal:1").await.unwrap();
    meet(&tls, &config, "unix:/run/a.sock").await.unwrap();
    assert!(system.0.get().is_none(), "the system's authorities were read for nothing");
}

#[tokio::test]
async fn a_server_without_tls_and_one_that_closes_are_told_apart() {
    let files = Files::new();
    let root = files.authority("root");
    let tls = build(&trusting(&root));
    let name = tls.server_name(&"a.internal:1".parse().unwrap()).unwrap();
    for (bytes, kind) in [
        (&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], ConnectFailure::Incompatible),
        (b"", ConnectFailure::Closed),
        (b"\x15\x03\x03\x00\x02\x02\x46", ConnectFailure::Incompatible),
        (b"\x15\x03\x03\x00\x02\x02\x28", ConnectFailure::Refused),
    ] {
        let (ours, mut theirs) = pair();
        theirs.write_all(bytes).await.unwrap();
        theirs.shutdown().await.unwrap();
        let error = tls.connect(ours, &name).await.unwrap_err();
        assert_eq!(error.kind, kind, "{error}");
    }
}

#[test]
fn a_server_on_a_unix_socket_needs_a_name_in_the_spec() {
    let files = Files::new();
    let root = files.authority("root");
    let address: Address = "unix:/run/a.sock".parse().unwrap();
    let error = build(&trusting(&root)).server_name(&address).unwrap_err().to_string();
    assert!(error.ends_with("write tls.server_name"), "{error}");
    let named = TlsSpec { server_name: Some("a.internal".to_owned()), ..trusting(&root) };
    assert!(build(&named).server_name(&address).is_ok());
}

#[test]
fn every_wrong_part_of_the_spec_is_an_error_of_one_build() {
    let files = Files::new();
    let (one, other) = (files.self_signed(&["a"]), files.self_signed(&["b"]));
    let spec = TlsSpec {
        server_name: Some("no name".to_owned()),
        ca: Some(files.path("nowhere.pem")),
        cert: Some(one.cert.clone()),
        key: Some(other.key),
        insecure_skip_verify: false,
    };
    let places = |spec: &TlsSpec| -> Vec<String> {
        let errors = ClientTls::build(spec, &[HTTP1], &SystemRoots::default()).unwrap_err();
        errors.into_iter().map(|error| error.at).collect()
    };
    assert_eq!(places(&spec), ["ca", "key", "server_name"]);
    let half = TlsSpec { cert: Some(one.cert), insecure_skip_verify: true, ..TlsSpec::default() };
    assert_eq!(places(&half), ["cert"]);
    let half = TlsSpec { key: Some(one.key), insecure_skip_verify: true, ..TlsSpec::default() };
    assert_eq!(places(&half), ["key"]);
}
