//! Certificates, keys and client authorities: exchanged in the config or in their files, with sessions that stay good.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::SerialNumber;
use rustls::{ClientConfig, HandshakeKind};
use tempfile::TempDir;

use crate::load::{Load, Mode, Rate};
use crate::support::lintel::{front, message_of};
use crate::support::tls::{Authority, Leaf, handshake};
use crate::support::{Connection, Lintel, Origin, eventually, get};

const HELLO: &str = "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n";

struct Front {
    folder: TempDir,
    authority: Authority,
    origin: Origin,
}

impl Front {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new(folder.path(), "authority");
        Self { folder, authority, origin: Origin::named("one") }
    }

    /// A certificate for `a.test` of this serial number, with its files moved to this name.
    fn leaf(&self, name: &str, serial: u64) -> Leaf {
        let mut leaf = self.authority.issue_with(&["a.test"], |parameters| {
            parameters.serial_number = Some(SerialNumber::from(serial));
        });
        for (path, end) in [(&mut leaf.cert, "crt"), (&mut leaf.key, "key")] {
            let to = self.folder.path().join(format!("{name}.{end}"));
            std::fs::rename(&*path, &to).unwrap();
            *path = to;
        }
        leaf
    }

    fn yaml(&self, leaf: &Leaf, tls: &str) -> String {
        let tls = format!("    tls:\n      certificates: [{}]\n{tls}", leaf.yaml());
        front(&[&self.origin], "")
            .replace("    address: \"127.0.0.1:0\"\n", &format!("    address: \"127.0.0.1:0\"\n{tls}"))
    }

    fn client(&self) -> Arc<ClientConfig> {
        Arc::new(self.authority.client())
    }
}

/// What a handshake came to: the serial number of the certificate, and whether a session was taken up again.
async fn shaken(address: SocketAddr, config: &Arc<ClientConfig>) -> std::io::Result<(u64, bool)> {
    let stream = handshake(address, "a.test", config).await?;
    let session = stream.get_ref().1;
    let resumed = session.handshake_kind() == Some(HandshakeKind::Resumed);
    let shown = session.peer_certificates().expect("a certificate")[0].clone();
    let (_, parsed) = x509_parser::parse_x509_certificate(&shown).expect("a certificate");
    let serial = parsed.serial.to_u64_digits().first().copied().unwrap_or_default();
    // Tickets come behind the first answer.
    let mut connection = Connection::over(stream);
    let answer = connection.exchange(HELLO).await;
    assert_eq!(answer.status(), 200);
    Ok((serial, resumed))
}

/// Puts other files in the places of a certificate and its key, one after the other, as tools do.
fn replace(leaf: &Leaf, by: &Leaf) {
    for (from, to) in [(&by.cert, &leaf.cert), (&by.key, &leaf.key)] {
        std::fs::rename(from, to).unwrap();
    }
}

#[tokio::test]
async fn another_certificate_in_the_config_is_shown_to_who_comes_next() {
    let front = Front::new();
    let (old, new) = (front.leaf("old", 1), front.leaf("new", 2));
    let mut lintel = Lintel::start(front.yaml(&old, "")).await;
    let resuming = front.client();
    assert_eq!(shaken(lintel.http(), &resuming).await.unwrap(), (1, false));
    let mut before =
        Connection::over(handshake(lintel.http(), "a.test", &front.client()).await.unwrap());
    before.get("/").await;
    lintel.reload(&front.yaml(&new, "")).await;
    assert_eq!(shaken(lintel.http(), &front.client()).await.unwrap(), (2, false));
    let (_, resumed) = shaken(lintel.http(), &resuming).await.unwrap();
    assert!(resumed, "a ticket of before is good");
    let last = before.get("/").await;
    assert_eq!((last.status(), last.lists("connection", "close")), (200, true));
    let expiry = [("listener", "http"), ("certificate", new.cert.to_str().unwrap())];
    assert!(lintel.metrics().await.has("lintel_certificate_expiry_seconds", &expiry));
}

#[tokio::test]
async fn other_files_in_the_places_of_the_old_ones_are_taken_without_being_told() {
    let front = Front::new();
    let leaf = front.leaf("live", 1);
    let lintel = Lintel::start(front.yaml(&leaf, "")).await;
    let resuming = front.client();
    assert_eq!(shaken(lintel.http(), &resuming).await.unwrap(), (1, false));
    let mut kept = Connection::over(handshake(lintel.http(), "a.test", &front.client()).await.unwrap());
    kept.get("/").await;
    for serial in 2..5 {
        replace(&leaf, &front.leaf("next", serial));
        eventually("the new certificate is shown", async || {
            (shaken(lintel.http(), &front.client()).await.unwrap().0 == serial).then_some(())
        })
        .await;
        assert!(shaken(lintel.http(), &resuming).await.unwrap().1, "tickets stay good");
        assert!(!kept.get("/").await.lists("connection", "close"), "nothing changes for who is connected");
    }
    let loads = lintel.log.records();
    assert!(!loads.iter().any(|line| message_of(line).contains("refused")), "files are taken as a pair");
}

/// One of the two files comes later: until both fit, the ones before stay.
#[tokio::test]
async fn a_key_that_comes_late_does_no_harm() {
    let front = Front::new();
    let leaf = front.leaf("live", 1);
    let lintel = Lintel::start(front.yaml(&leaf, "")).await;
    let next = front.leaf("next", 2);
    std::fs::rename(&next.cert, &leaf.cert).unwrap();
    let status = eventually("the half of it is refused", async || {
        let status = lintel.status().await;
        let problems = status["last_reload"]["problems"].as_array().unwrap().clone();
        (!problems.is_empty()).then_some(status)
    })
    .await;
    assert!(status["last_reload"]["problems"][0].as_str().unwrap().contains("key"), "{status}");
    assert_eq!(lintel.metrics().await.sum("lintel_config_last_load_ok", &[]), 0.0);
    assert_eq!(shaken(lintel.http(), &front.client()).await.unwrap().0, 1);
    std::fs::rename(&next.key, &leaf.key).unwrap();
    eventually("the new certificate is shown", async || {
        (shaken(lintel.http(), &front.client()).await.unwrap().0 == 2).then_some(())
    })
    .await;
    lintel.metric("lintel_config_last_load_ok", &[], 1.0).await;
    assert!(lintel.status().await["last_reload"]["problems"].as_array().unwrap().is_empty());
}

/// A problem of the config file stays told when certificates are renewed meanwhile.
#[tokio::test]
async fn renewed_certificates_hide_no_problem_of_the_file() {
    let front = Front::new();
    let leaf = front.leaf("live", 1);
    let lintel = Lintel::start(front.yaml(&leaf, "")).await;
    let refused = lintel.try_reload("nonsense: 1\n").await;
    assert_eq!(refused.status(), 422);
    replace(&leaf, &front.leaf("next", 2));
    eventually("the new certificate is shown", async || {
        (shaken(lintel.http(), &front.client()).await.unwrap().0 == 2).then_some(())
    })
    .await;
    assert_eq!(lintel.metrics().await.sum("lintel_config_last_load_ok", &[]), 0.0);
    assert!(!lintel.status().await["last_reload"]["problems"].as_array().unwrap().is_empty());
}

/// As Kubernetes and certbot do it: the files are links, and what they lead to is exchanged.
#[tokio::test]
async fn links_that_lead_elsewhere_are_followed() {
    let front = Front::new();
    let at = |name: &str| front.folder.path().join(name);
    for (version, serial) in [("..v1", 1), ("..v2", 2)] {
        let leaf = front.leaf("tls", serial);
        std::fs::create_dir(at(version)).unwrap();
        for path in [&leaf.cert, &leaf.key] {
            std::fs::rename(path, at(version).join(path.file_name().unwrap())).unwrap();
        }
    }
    let link = |to: &str| {
        std::os::unix::fs::symlink(to, at("..new")).unwrap();
        std::fs::rename(at("..new"), at("..data")).unwrap();
    };
    link("..v1");
    let mut leaf = front.leaf("tls", 9);
    for (path, end) in [(&mut leaf.cert, "crt"), (&mut leaf.key, "key")] {
        std::fs::remove_file(&*path).unwrap();
        std::os::unix::fs::symlink(format!("..data/tls.{end}"), &*path).unwrap();
    }
    let lintel = Lintel::start(front.yaml(&leaf, "")).await;
    assert_eq!(shaken(lintel.http(), &front.client()).await.unwrap().0, 1);
    link("..v2");
    std::fs::remove_dir_all(at("..v1")).unwrap();
    eventually("the new certificate is shown", async || {
        (shaken(lintel.http(), &front.client()).await.unwrap().0 == 2).then_some(())
    })
    .await;
}

struct Clients {
    path: PathBuf,
    ours: Authority,
    other: Authority,
}

impl Clients {
    fn new(folder: &Path) -> Self {
        let (ours, other) = (Authority::new(folder, "ours"), Authority::new(folder, "other"));
        let path = folder.join("clients.pem");
        std::fs::copy(&ours.path, &path).unwrap();
        Self { path, ours, other }
    }

    fn tls(&self) -> String {
        format!("      client_auth: {{ ca: {} }}\n", self.path.display())
    }
}

/// A client of the front's authority that shows a certificate of another one.
fn showing(front: &Front, leaf: &Leaf) -> Arc<ClientConfig> {
    Arc::new(front.authority.client_with(leaf))
}

#[tokio::test]
async fn whom_a_new_authority_does_not_know_cannot_resume_what_was_begun_before() {
    let front = Front::new();
    let leaf = front.leaf("live", 1);
    let clients = Clients::new(front.folder.path());
    let (old, new) = (clients.ours.issue(&["old client"]), clients.other.issue(&["new client"]));
    let mut lintel = Lintel::start(front.yaml(&leaf, &clients.tls())).await;
    for by_file in [true, false] {
        std::fs::copy(&clients.ours.path, &clients.path).unwrap();
        let before = lintel.in_force();
        lintel.signal(rustix::process::Signal::HUP);
        lintel.taken(before).await;
        let resuming = showing(&front, &old);
        shaken(lintel.http(), &resuming).await.unwrap();
        assert!(shaken(lintel.http(), &resuming).await.unwrap().1, "a session is taken up again");
        // A reload that changes something else leaves it so.
        lintel.reload(&(front.yaml(&leaf, &clients.tls()) + "runtime: { drain_timeout: 9s }\n")).await;
        assert!(shaken(lintel.http(), &resuming).await.unwrap().1, "over a reload");
        std::fs::copy(&clients.other.path, &clients.path).unwrap();
        if !by_file {
            lintel.reload(&front.yaml(&leaf, &clients.tls())).await;
        }
        let fresh = showing(&front, &new);
        eventually("the new authority counts", async || {
            let stream = handshake(lintel.http(), "a.test", &fresh).await.ok()?;
            let mut connection = Connection::over(stream);
            connection.send(HELLO).await;
            connection.try_response_to("GET").await.ok()
        })
        .await;
        let refused = async {
            let Ok(stream) = handshake(lintel.http(), "a.test", &resuming).await else { return true };
            let mut connection = Connection::over(stream);
            connection.send(HELLO).await;
            connection.try_response_to("GET").await.is_err()
        };
        assert!(refused.await, "the ticket of a client whom nobody vouches for any more");
    }
}

#[tokio::test]
async fn a_listener_that_begins_to_ask_for_certificates_lets_no_old_ticket_in() {
    let front = Front::new();
    let leaf = front.leaf("live", 1);
    let clients = Clients::new(front.folder.path());
    let mut lintel = Lintel::start(front.yaml(&leaf, "")).await;
    let nobody = front.client();
    shaken(lintel.http(), &nobody).await.unwrap();
    assert!(shaken(lintel.http(), &nobody).await.unwrap().1);
    lintel.reload(&front.yaml(&leaf, &clients.tls())).await;
    let stream = handshake(lintel.http(), "a.test", &nobody).await;
    let is_refused = match stream {
        Err(_) => true,
        Ok(stream) => {
            let mut connection = Connection::over(stream);
            connection.send(HELLO).await;
            connection.try_response_to("GET").await.is_err()
        }
    };
    assert!(is_refused);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handshakes_under_way_fail_by_no_exchange() {
    let front = Front::new();
    let (one, two) = (front.leaf("one", 1), front.leaf("two", 2));
    let mut lintel = Lintel::start(front.yaml(&one, "")).await;
    let (address, config) = (lintel.http(), front.client());
    let (end, mut over) = tokio::sync::oneshot::channel::<()>();
    let shaking = tokio::spawn(async move {
        let mut count = 0;
        while over.try_recv().is_err() {
            shaken(address, &config).await.expect("a handshake and an answer");
            count += 1;
        }
        count
    });
    for round in 0..30 {
        lintel.reload(&front.yaml(if round % 2 == 0 { &two } else { &one }, "")).await;
    }
    end.send(()).unwrap();
    let count = shaking.await.unwrap();
    assert!(count > 30, "{count} handshakes");
}

/// A plain listener becomes one of TLS at the same address, and back.
#[tokio::test]
async fn a_listener_begins_and_ceases_to_speak_tls() {
    let front = Front::new();
    let leaf = front.leaf("one", 1);
    let tls = front.yaml(&leaf, "");
    let plain = crate::support::lintel::front(&[&front.origin], "");
    let mut lintel = Lintel::start(&*plain).await;
    let address = lintel.http();
    let mut kept = Connection::open(address).await;
    kept.get("/").await;
    lintel.reload(&tls).await;
    assert_eq!(lintel.http(), address);
    assert_eq!(shaken(address, &front.client()).await.unwrap(), (1, false));
    assert!(kept.get("/").await.lists("connection", "close"), "plain as it came");
    lintel.reload(&plain).await;
    assert_eq!(get(address, "/").await.text(), "one");
    let load = Load::start(address, Rate::gets(Mode::New, 100));
    lintel.reload(&(plain + "runtime: { drain_timeout: 9s }\n")).await;
    load.goes_on(5).await;
    load.tally().await.assert_whole();
}
