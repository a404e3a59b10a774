//! Draining: no new work for a server, its WebSockets told to come back, and what the commands say of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use serde_json::Value;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::load::Load;
use crate::support::lintel::{Setup, front};
use crate::support::time::stays_silent;
use crate::support::websocket::{self, Socket, echo, echo_origin};
use crate::support::{Connection, Lintel, Origin, eventually, get, within};

/// A server as status shows it.
async fn server(lintel: &Lintel, name: &str) -> Value {
    let status = lintel.status().await;
    let servers =
        status["pools"].as_array().into_iter().flatten().flat_map(|pool| pool["servers"].as_array());
    servers.flatten().find(|server| server["name"] == name).cloned().unwrap_or_default()
}

fn of(origin: &Origin) -> String {
    format!("web/{}", origin.address())
}

/// The code that a WebSocket is closed with.
async fn close_code(socket: &mut Socket) -> Option<CloseCode> {
    while let Some(Ok(message)) = socket.next().await {
        if let Message::Close(frame) = message {
            return frame.map(|frame| frame.code);
        }
    }
    None
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn draining_under_load_fails_no_request_and_the_server_gets_none_until_it_is_undrained() {
    let (one, two) = (Origin::named("one"), Origin::named("two"));
    let lintel = Lintel::before(&[&one, &two], "").await;
    let load = Load::start(lintel.http(), 8);
    load.more(100).await;
    let said = lintel.run(&["drain", &of(&one), "--timeout", "10s"]).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!(said.stdout.trim(), format!("{}: drained, nothing is left on it", of(&one)));
    let (before, others) = (one.count(), two.count());
    load.more(200).await;
    assert_eq!(one.count(), before, "a drained server gets nothing");
    assert!(two.count() > others + 150);
    let said = lintel.run(&["undrain", &of(&one)]).await;
    assert_eq!((said.code, said.stdout.trim()), (Some(0), format!("{}: gets work again", of(&one)).as_str()));
    load.more(200).await;
    let answers = load.stop().await;
    assert!(one.count() > before + 50, "{} of {}", one.count() - before, answers.len());
    lintel.stop().await;
}

#[tokio::test]
async fn a_bound_session_stays_on_a_drained_server_and_its_websocket_is_not_sent_away_again() {
    let (one, two) = (echo_origin("one"), echo_origin("two"));
    let lintel = Lintel::before(&[&one, &two], "sticky: { cookie: lintel }").await;
    let key = "dGhlIHNhbXBsZSBub25jZQ==";
    let upgrade = |cookie: &str| {
        format!(
            "GET /ws HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: {key}\r\n\
             Sec-WebSocket-Version: 13\r\n{cookie}\r\n"
        )
    };
    let mut first = Connection::open(lintel.http()).await;
    first.send(upgrade("")).await;
    let switched = first.response().await;
    let cookie =
        switched.field("set-cookie").expect("a cookie").split(';').next().unwrap_or_default().to_owned();
    let home = if one.open() == 1 { &one } else { &two };
    lintel.run(&["drain", &of(home), "--timeout", "1s", "--no-wait"]).await;
    // The one from before the order is told to come back: 1012, in a frame of four bytes.
    assert_eq!(first.bytes(4).await, [0x88, 0x02, 0x03, 0xf4]);
    drop(first);
    let mut again = Connection::open(lintel.http()).await;
    again.send(upgrade(&format!("Cookie: {cookie}\r\n"))).await;
    assert_eq!(again.response().await.status(), 101);
    assert_eq!(home.open(), 1, "it is where its session is");
    assert!(
        stays_silent(Duration::from_millis(1500), again.bytes(1)).await,
        "and is not sent away once more"
    );
    let mut stranger = Connection::open(lintel.http()).await;
    stranger.send(upgrade("")).await;
    stranger.response().await;
    assert_eq!(home.open(), 1, "a new client goes elsewhere");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_websockets_are_told_to_come_back_spread_over_the_timeout() {
    const SOCKETS: usize = 200;
    const TIME: Duration = Duration::from_secs(4);
    let (one, two) = (echo_origin("one"), echo_origin("two"));
    let lintel = Lintel::before(&[&one], "").await;
    let mut sockets = Vec::new();
    for _ in 0..SOCKETS {
        sockets.push(websocket::open(lintel.http(), "/ws").await);
    }
    let added = lintel.order(&format!("/pools/web/servers?address={}", two.address())).await;
    assert_eq!(added.status(), 200, "{}", added.text());
    let began = Instant::now();
    let ends: Vec<_> = sockets
        .into_iter()
        .map(|mut socket| tokio::spawn(async move { (close_code(&mut socket).await, began.elapsed()) }))
        .collect();
    let said = lintel.run(&["drain", &of(&one), "--timeout", "4s"]).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(began.elapsed() < TIME + Duration::from_secs(2), "the command ends with the last of them");
    assert!(said.stderr.contains("in flight, "), "progress is shown: {said:?}");
    let mut times = Vec::new();
    for end in ends {
        let (code, time) = within("a WebSocket ends", end).await.expect("no client panics");
        assert_eq!(code, Some(CloseCode::Restart));
        times.push(time);
    }
    times.sort_unstable();
    assert!(times[SOCKETS - 1] < TIME + Duration::from_millis(500), "the last one: {:?}", times[SOCKETS - 1]);
    // Evenly: about 28 come in each half second of the 3.6.
    for window in 0..7u32 {
        let from = Duration::from_millis(500) * window;
        let count =
            times.iter().filter(|time| (from..from + Duration::from_millis(500)).contains(*time)).count();
        assert!((5..=80).contains(&count), "{count} between {from:?} and half a second later");
    }
    let mut socket = websocket::open(lintel.http(), "/ws").await;
    assert_eq!(echo(&mut socket, "who").await, "two");
}

#[tokio::test]
async fn a_goodbye_is_put_off_hastened_and_taken_back_by_later_orders() {
    let one = echo_origin("one");
    let lintel = Lintel::before(&[&one], "timeouts: { tunnel_idle: 1s }").await;
    let mut socket = websocket::open(lintel.http(), "/ws").await;
    let drain =
        |time: &str| format!("/pools/web/servers/{}/drain?timeout={time}", one.address().replace(':', "%3A"));
    assert_eq!(lintel.order(&drain("1h")).await.status(), 200);
    assert_eq!(server(&lintel, &one.address()).await["state"], "draining");
    let undrain = drain("1h").replace("/drain?timeout=1h", "/undrain");
    assert_eq!(lintel.order(&undrain).await.status(), 200);
    assert_eq!(server(&lintel, &one.address()).await["state"], "up");
    // It is as it was: too long in silence, it is ended without a word.
    assert_eq!(echo(&mut socket, "still here").await, "still here");
    assert_eq!(within("the end of an idle WebSocket", close_code(&mut socket)).await, None);
    let mut socket = websocket::open(lintel.http(), "/ws").await;
    assert_eq!(lintel.order(&drain("1h")).await.status(), 200);
    assert_eq!(lintel.order(&drain("1s")).await.status(), 200);
    let code = within("the goodbye", close_code(&mut socket)).await;
    assert_eq!(code, Some(CloseCode::Restart), "an hour has become a second");
}

#[tokio::test]
async fn what_is_left_when_the_time_is_over_goes_on_and_the_exit_code_says_so() {
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let waits = Arc::clone(&gate);
    let slow = Origin::scripted(move |mut talk| {
        let gate = Arc::clone(&waits);
        async move {
            while let Some(request) = talk.request().await {
                gate.acquire().await.expect("the gate is never closed").forget();
                talk.answer(&request, "slow", b"slow").await;
            }
        }
    });
    let lintel = Lintel::before(&[&slow], "").await;
    let mut running = Connection::open(lintel.http()).await;
    running.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    slow.request(0).await;
    let said = lintel.run(&["drain", &of(&slow), "--no-wait"]).await;
    assert_eq!(said.code, Some(0), "it does not wait: {said:?}");
    assert!(said.stderr.contains("no other server of web is up"), "{said:?}");
    let said = lintel.run(&["drain", &of(&slow), "--timeout", "1s", "--json"]).await;
    assert_eq!(said.code, Some(3), "{said:?}");
    let state: Value = serde_json::from_str(&said.stdout).expect("JSON alone on stdout");
    assert_eq!((&state["in_flight"], &state["state"]), (&1.into(), &"draining".into()));
    assert_eq!(get(lintel.http(), "/").await.status(), 503, "there is nobody else");
    gate.add_permits(1);
    assert_eq!(running.response().await.text(), "slow");
    // Somebody else gives it work again while the command waits.
    let mut running = Connection::open(lintel.http()).await;
    lintel.run(&["undrain", &of(&slow)]).await;
    running.send("GET /2 HTTP/1.1\r\nHost: a\r\n\r\n").await;
    slow.request(1).await;
    let name = of(&slow);
    let drain = ["drain", &name, "--timeout", "20s"];
    let (said, ()) = tokio::join!(lintel.run(&drain), async {
        eventually("it is drained", async || {
            (server(&lintel, &slow.address()).await["state"] == "draining").then_some(())
        })
        .await;
        lintel.run(&["undrain", &name]).await;
    });
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.stderr.contains("gets work again"), "{said:?}");
    gate.add_permits(1);
    assert_eq!(running.response().await.text(), "slow");
}

#[tokio::test]
async fn unknown_names_are_answered_with_those_that_are_known() {
    let one = Origin::named("one");
    let lintel = Lintel::before(&[&one], "").await;
    let known = one.address();
    for (arguments, parts) in [
        (vec!["drain", "web/10.9.9.9:80"], vec!["no server `10.9.9.9:80` in web", &*known]),
        (vec!["undrain", "wep/10.9.9.9:80"], vec!["no pool `wep`", "there are: web"]),
        (vec!["drain", "web"], vec!["write POOL/SERVER"]),
        (vec!["server", "weight", "web/x", "2"], vec!["no server `x` in web", &*known]),
        (vec!["server", "remove", "web/x"], vec!["no server `x` in web"]),
        (vec!["pause", "wep"], vec!["no pool `wep`", "there are: web"]),
        (vec!["resume", "a b/c"], vec!["no pool `a b/c`", "there are: web"]),
    ] {
        let said = lintel.run(&arguments).await;
        assert_eq!(said.code, Some(1), "{arguments:?}: {said:?}");
        for part in parts {
            assert!(said.stderr.contains(part), "{arguments:?}: `{part}` is missing in {said:?}");
        }
    }
    let answer = lintel.order("/pools/web/servers/10.9.9.9%3A80/drain").await;
    assert_eq!(answer.status(), 404, "{}", answer.text());
    assert_eq!(answer.field("content-type"), Some("application/json"));
}

#[tokio::test]
async fn names_with_slashes_and_colons_work_on_the_command_line_and_in_the_api() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let unix = Origin::unix("unix", &folder.path().join("a b%.sock"));
    let port = Origin::down("nobody").socket_address().port();
    let names = [unix.address(), format!("[::1]:{port}"), format!("127.0.0.1:{port}")];
    let listener = "listeners:\n  http: { address: \"127.0.0.1:0\" }";
    let lintel =
        Lintel::start(format!("{listener}\npools:\n  web: {{ servers: {names:?} }}\nroutes:\n  - to: web\n"))
            .await;
    for name in &names {
        let said = lintel.run(&["drain", &format!("web/{name}"), "--json", "--no-wait"]).await;
        assert_eq!(said.code, Some(0), "{said:?}");
        let state: Value = serde_json::from_str(&said.stdout).expect("JSON");
        assert_eq!((&state["name"], &state["state"]), (&name.as_str().into(), &"draining".into()));
        assert_eq!(lintel.run(&["undrain", &format!("web/{name}")]).await.code, Some(0));
        let encoded: String = name.bytes().map(|byte| format!("%{byte:02x}")).collect();
        assert_eq!(lintel.order(&format!("/pools/web/servers/{encoded}/drain")).await.status(), 200);
        assert_eq!(server(&lintel, name).await["state"], "draining");
    }
    let said = lintel.run(&["status"]).await;
    assert!(
        said.stdout.lines().any(|line| line.contains("[::1]:") && line.contains(" drained ")),
        "{}",
        said.stdout
    );
}

#[tokio::test]
async fn a_worker_of_an_app_is_drained_by_its_number() {
    let setup = Setup::new(
        "listeners:\n  http: { address: \"127.0.0.1:0\" }\npools:\n  app:\n    app: { command: node server.js, instances: 2 }\n\
         routes:\n  - to: app\n",
    );
    let program = "require('http').createServer((_, answer) => answer.end(String(process.pid))).listen(process.env.PORT)";
    std::fs::write(setup.path().join("server.js"), program).expect("the app can be written");
    let lintel = setup.start().await;
    eventually("both workers are up", async || {
        let [first, second] = [server(&lintel, "app/0").await, server(&lintel, "app/1").await];
        (first["state"] == "up" && second["state"] == "up").then_some(())
    })
    .await;
    let said = lintel.run(&["drain", "app/0"]).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!(lintel.run(&["drain", "app/app/0"]).await.code, Some(0));
    let mut pids = std::collections::BTreeSet::new();
    for _ in 0..10 {
        pids.insert(get(lintel.http(), "/").await.text());
    }
    assert_eq!(pids.len(), 1);
    for arguments in [vec!["server", "add", "app", "10.0.0.1:80"], vec!["server", "remove", "app/0"]] {
        let said = lintel.run(&arguments).await;
        assert_eq!(said.code, Some(1), "{said:?}");
        assert!(said.stderr.contains("lintel scale"), "{said:?}");
    }
    assert_eq!(lintel.run(&["undrain", "app/0"]).await.code, Some(0));
    lintel.stop().await;
}

#[tokio::test]
async fn a_reload_forgets_a_drain_unless_it_is_to_be_kept() {
    let (one, two) = (Origin::named("one"), Origin::named("two"));
    let yaml = front(&[&one, &two], "");
    let mut lintel = Lintel::start(yaml.clone()).await;
    assert_eq!(lintel.run(&["drain", &of(&one)]).await.code, Some(0));
    lintel.reload(&yaml).await;
    assert_eq!(server(&lintel, &one.address()).await["state"], "up", "the same file forgets it too");
    assert_eq!(lintel.run(&["drain", &of(&one), "--keep"]).await.code, Some(0));
    for _ in 0..2 {
        lintel.reload(&yaml).await;
        let state = server(&lintel, &one.address()).await;
        assert_eq!((&state["state"], &state["orders"][0]["kept"]), (&"draining".into(), &true.into()));
        assert_eq!(get(lintel.http(), "/").await.text(), "two");
    }
    lintel.run(&["undrain", &of(&one)]).await;
    lintel.reload(&yaml).await;
    assert_eq!(server(&lintel, &one.address()).await["state"], "up");
}
