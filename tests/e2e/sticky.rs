//! The sticky cookie: one client stays on one server, across restarts and across front doors.

use std::os::unix::fs::PermissionsExt;

use crate::support::lintel::{Setup, front};
use crate::support::{Connection, Lintel, Origin, Response, eventually};

const STICKY: &str = "balance: round_robin\nsticky: { cookie: lintel }";

fn four() -> [Origin; 4] {
    ["a", "b", "c", "d"].map(Origin::named)
}

/// `name=value` of the cookie that a response sets.
fn cookie_of(response: &Response) -> Option<String> {
    let cookie = response.field("set-cookie")?;
    cookie.split(';').next().map(str::to_owned)
}

async fn get_with(lintel: &Lintel, cookie: &str) -> Response {
    let mut connection = Connection::open(lintel.http()).await;
    connection.exchange(&format!("GET / HTTP/1.1\r\nHost: a.test\r\nCookie: x=y; {cookie}\r\n\r\n")).await
}

/// A new client: who answered, and its cookie.
async fn newcomer(lintel: &Lintel) -> (String, String) {
    let response = crate::support::get(lintel.http(), "/").await;
    let cookie = cookie_of(&response).expect("a cookie for a new client");
    (response.text(), cookie)
}

#[tokio::test]
async fn a_client_stays_on_its_server_and_is_told_once() {
    let servers = four();
    let lintel = Lintel::before(&servers.each_ref(), STICKY).await;
    let mut homes = std::collections::BTreeSet::new();
    for _ in 0..8 {
        let (home, cookie) = newcomer(&lintel).await;
        for _ in 0..10 {
            let response = get_with(&lintel, &cookie).await;
            assert_eq!(response.text(), home);
            assert_eq!(cookie_of(&response), None, "set again");
        }
        homes.insert(home);
    }
    assert_eq!(homes.len(), 4, "new clients are balanced");
    lintel.metric("lintel_pool_sticky_total", &[("pool", "web"), ("outcome", "hit")], 80.0).await;
}

#[tokio::test]
async fn the_cookie_is_opaque_and_guarded() {
    let servers = four();
    let lintel =
        Lintel::before(&servers.each_ref(), "sticky: { cookie: lintel, ttl: 12h, same_site: strict }").await;
    let response = crate::support::get(lintel.http(), "/").await;
    let cookie = response.field("set-cookie").unwrap();
    for part in ["lintel=", "; Path=/", "; HttpOnly", "; SameSite=Strict", "; Max-Age=43200"] {
        assert!(cookie.contains(part), "no {part} in {cookie}");
    }
    assert!(!cookie.contains("Secure"), "over plain HTTP a browser would drop it: {cookie}");
    for server in &servers {
        let address = server.socket_address();
        assert!(!cookie.contains(&address.port().to_string()) && !cookie.contains("127.0.0.1"), "{cookie}");
    }
}

#[tokio::test]
async fn a_made_up_cookie_moves_nobody() {
    let servers = four();
    let lintel = Lintel::before(&servers.each_ref(), STICKY).await;
    let (_, cookie) = newcomer(&lintel).await;
    let mut forged = cookie.clone();
    let last = if forged.pop() == Some('A') { 'B' } else { 'A' };
    forged.push(last);
    for made_up in [&*forged, "lintel=", "lintel=1", "lintel=AAAAAAAAAAAAAAAAAAAAAA", "lintel=\"a\""] {
        let response = get_with(&lintel, made_up).await;
        assert_eq!(response.status(), 200, "{made_up}");
        assert!(cookie_of(&response).is_some(), "{made_up} counts for a new client");
    }
    lintel.metric("lintel_pool_sticky_total", &[("outcome", "unknown")], 5.0).await;
}

#[tokio::test]
async fn sticky_survives_a_restart_through_a_key_for_its_owner_alone() {
    let servers = four();
    let yaml = front(&servers.each_ref(), STICKY);
    let before = Lintel::start(&*yaml).await;
    let mut clients = Vec::new();
    for _ in 0..8 {
        clients.push(newcomer(&before).await);
    }
    let key = before.path().join("state/sticky.key");
    assert_eq!(std::fs::metadata(&key).expect("the key").permissions().mode() & 0o777, 0o600);
    let setup = Setup::new(&*yaml).in_folder_of(&before);
    before.stop().await;
    let after = setup.start().await;
    for (home, cookie) in &clients {
        assert_eq!(&get_with(&after, cookie).await.text(), home);
    }
}

#[tokio::test]
async fn front_doors_with_one_secret_agree_and_with_two_do_not() {
    let servers = four();
    let folder = tempfile::tempdir().unwrap();
    let secret = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        let lines = format!("sticky: {{ cookie: lintel, secret: {{ file: {} }} }}", path.display());
        front(&servers.each_ref(), &lines)
    };
    let shared = secret("shared.key", "sixteen bytes and more\n");
    let (one, two) = (Lintel::start(&*shared).await, Lintel::start(&*shared).await);
    let other = Lintel::start(secret("other.key", "another sixteen bytes\n")).await;
    for _ in 0..8 {
        let (home, cookie) = newcomer(&one).await;
        assert_eq!(get_with(&two, &cookie).await.text(), home);
        assert!(cookie_of(&get_with(&other, &cookie).await).is_some());
    }
}

#[tokio::test]
async fn a_client_whose_server_is_gone_moves_and_stays_where_it_moved() {
    let servers = four();
    let lintel = Lintel::before(&servers.each_ref(), STICKY).await;
    let (home, cookie) = newcomer(&lintel).await;
    servers.iter().find(|server| server.name == home).unwrap().kill().await;
    let response = get_with(&lintel, &cookie).await;
    assert_eq!(response.status(), 200);
    assert_ne!(response.text(), home);
    let moved =
        eventually("a cookie for the new server", async || cookie_of(&get_with(&lintel, &cookie).await))
            .await;
    let new_home = get_with(&lintel, &moved).await.text();
    for _ in 0..5 {
        assert_eq!(get_with(&lintel, &moved).await.text(), new_home);
    }
}
