//! Files with problems: nothing changes, and the problems are told in the log, the answer, the status and a metric.

use std::path::Path;

use serde_json::Value;

use crate::load::{Load, Mode, Rate};
use crate::support::lintel::{Setup, front, message_of, whole};
use crate::support::tls::Authority;
use crate::support::{Connection, Lintel, Origin, eventually, get};

/// A kind of bad file, and what is said of it.
struct Bad {
    kind: &'static str,
    /// `None` for no file at all.
    text: Option<String>,
    says: &'static str,
    /// Its line, where it has one.
    line: Option<u64>,
}

fn line_of(text: &str, part: &str) -> Option<u64> {
    text.lines().position(|line| line.contains(part)).map(|index| index as u64 + 1)
}

/// Every kind, made of a good config. `taken` is an address that is in use.
fn bad_files(good: &str, folder: &Path, taken: &str) -> Vec<Bad> {
    let (one, two) = {
        let authority = Authority::new(folder, "authority");
        (authority.issue(&["one.test"]), authority.issue(&["two.test"]))
    };
    let with_listener =
        |listener: &str| good.replace("listeners:\n", &format!("listeners:\n  second: {{ {listener} }}\n"));
    let mut files = Vec::new();
    let mut add = |kind, text: String, part: &str, says| {
        let line = line_of(&text, part);
        files.push(Bad { kind, text: Some(text), says, line });
    };
    add("YAML syntax", format!("{good}  bad: [\n"), "bad: [", "this is not YAML");
    add(
        "an unknown key",
        good.replace("    to: web\n", "    to: web\n    timeuot: 5s\n"),
        "timeuot",
        "unknown key `timeuot`",
    );
    add(
        "a value of the wrong kind",
        format!("{good}runtime: {{ drain_timeout: 5 }}\n"),
        "drain_timeout",
        "unit",
    );
    add(
        "an include that is missing",
        format!("{good}include: nowhere.yaml\n"),
        "nowhere.yaml",
        "nowhere.yaml",
    );
    add("an unknown pool", good.replace("    to: web\n", "    to: wbe\n"), "to: wbe", "wbe");
    add(
        "a certificate that does not fit its key",
        with_listener(&format!(
            "address: \"127.0.0.2:0\", tls: {{ certificates: [{{ cert: {}, key: {} }}] }}",
            one.cert.display(),
            two.key.display()
        )),
        "second:",
        "key",
    );
    add(
        "a certificate that is missing",
        with_listener("address: \"127.0.0.2:0\", tls: { certificates: [{ cert: gone.crt, key: gone.key }] }"),
        "second:",
        "gone.crt",
    );
    add(
        "an address in use",
        with_listener(&format!("address: \"{taken}\"")),
        "second:",
        "another program listens on",
    );
    add(
        "a control interface that is open to all",
        format!("{good}admin: {{ address: \"0.0.0.0:0\" }}\n"),
        "0.0.0.0",
        "off loopback",
    );
    files.push(Bad {
        kind: "an empty file",
        text: Some(String::new()),
        says: "the file is empty",
        line: None,
    });
    files.push(Bad {
        kind: "a file of spaces",
        text: Some("   \n\n".into()),
        says: "the file is empty",
        line: None,
    });
    files.push(Bad { kind: "bytes that are no text", text: Some("\u{0}\u{1}".into()), says: "", line: None });
    files.push(Bad { kind: "no file", text: None, says: "there is no such file", line: None });
    files
}

fn put(lintel: &Lintel, text: Option<&str>) {
    match text {
        Some(text) => std::fs::write(lintel.config_path(), text).unwrap(),
        None => std::fs::remove_file(lintel.config_path()).unwrap(),
    }
}

async fn last_load_ok(lintel: &Lintel) -> f64 {
    lintel.metrics().await.sum("lintel_config_last_load_ok", &[])
}

/// The hash of the config in force, as the metric has it.
async fn hash_in_force(lintel: &Lintel) -> String {
    let text = get(lintel.at("metrics"), "/metrics").await.text();
    text.lines().find(|line| line.starts_with("lintel_config_info{")).expect("the metric").to_owned()
}

#[tokio::test]
async fn every_kind_of_bad_file_changes_nothing_and_is_told_in_all_four_places() {
    let origin = Origin::named("one");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let setup = Setup::new(front(&[&origin], ""));
    let good = whole(&front(&[&origin], ""));
    let files = bad_files(&good, setup.path(), &taken.local_addr().unwrap().to_string());
    let mut lintel = setup.start().await;
    let (address, hash) = (lintel.http(), hash_in_force(&lintel).await);
    let mut kept = Connection::open(address).await;
    kept.get("/").await;
    for Bad { kind, text, says, line } in files {
        put(&lintel, text.as_deref());
        // The API's answer.
        let answer = lintel.order("/reload").await;
        assert_eq!(answer.status(), 422, "{kind}: {}", answer.text());
        let answer: Value = serde_json::from_slice(&answer.body).expect("JSON");
        assert_eq!(answer["error"], "the config has problems; nothing has changed", "{kind}");
        let problems = answer["problems"].as_array().unwrap();
        assert!(!problems.is_empty(), "{kind}");
        let fits = |problem: &&Value| problem["text"].as_str().unwrap().contains(says);
        let problem = problems.iter().find(fits).unwrap_or_else(|| panic!("{kind}: no `{says}` in {answer}"));
        if line.is_some() {
            assert_eq!(problem["line"].as_u64(), line, "{kind}: {problem}");
        }
        // The log.
        let message = problem["message"].as_str().unwrap();
        let told = |line: &Value| {
            message_of(line).starts_with("config refused: ") && message_of(line).contains(message)
        };
        lintel.log.record(&format!("the log says: {message}"), told).await;
        // The status, and the command for it, which has no good file to go by either.
        let status = lintel.status().await;
        let shown = status["last_reload"]["problems"].as_array().unwrap();
        assert_eq!(shown.len(), problems.len(), "{kind}: {status}");
        assert!(shown.iter().any(|shown| shown.as_str().unwrap().contains(message)), "{kind}: {status}");
        let said = lintel.run(&["status"]).await;
        assert_eq!(said.code, Some(0), "{kind}: {said:?}");
        assert!(said.stdout.contains(message) && said.stdout.contains("pool web"), "{kind}: {said:?}");
        // The command for a reload.
        let said = lintel.run(&["reload"]).await;
        assert_eq!(said.code, Some(1), "{kind}: {said:?}");
        assert!(
            said.stderr.contains(message) && said.stderr.contains("nothing has changed"),
            "{kind}: {said:?}"
        );
        // The metric.
        assert_eq!(last_load_ok(&lintel).await, 0.0, "{kind}");
        // And nothing has changed.
        assert_eq!(hash_in_force(&lintel).await, hash, "{kind}");
        let response = kept.get("/").await;
        assert_eq!((response.status(), response.lists("connection", "close")), (200, false), "{kind}");
        assert_eq!(get(address, "/").await.text(), "one", "{kind}");
        // A good one mends it all.
        put(&lintel, Some(&good));
        let before = lintel.in_force();
        let said = lintel.run(&["reload"]).await;
        assert_eq!((said.code, said.stdout.starts_with("reloaded")), (Some(0), true), "{kind}: {said:?}");
        lintel.taken(before).await;
        assert_eq!(lintel.http(), address);
        assert_eq!(last_load_ok(&lintel).await, 1.0, "{kind}");
        assert!(lintel.status().await["last_reload"]["problems"].as_array().unwrap().is_empty(), "{kind}");
        let said = lintel.run(&["status"]).await;
        assert!(!said.stdout.contains("refused"), "{kind}: {said:?}");
    }
    assert_eq!(lintel.metrics().await.sum("lintel_listener_connections_open", &[("listener", "http")]), 1.0);
}

#[tokio::test]
async fn commands_find_the_process_though_the_file_is_broken() {
    let origin = Origin::named("one");
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("own run");
    std::fs::create_dir(&run).unwrap();
    let places = [
        "admin: { address: \"127.0.0.1:0\", token: { file: token } }\n".to_owned(),
        format!("admin:\n  address: \"unix:{}\"\n", folder.path().join("own.sock").display()),
        "admin:\n  # beside the config\n  address: unix:beside.sock\n".to_owned(),
        format!("runtime:\n  run_directory: \"{}\"\n", run.display()),
        "admin:\n  address: unix:${WHERE}\n".to_owned(),
    ];
    for place in places {
        let good = whole(&(front(&[&origin], "") + &place));
        let setup = Setup::new(&*good).env("WHERE", folder.path().join("variable.sock").to_str().unwrap());
        std::fs::write(setup.path().join("token"), "sixteen-bytes-and-more\n").unwrap();
        let lintel = setup.start().await;
        let mut place = place;
        if place.contains(":0\"") {
            // The port that the system chose is not in the file: it is written down as a user would have.
            place = place.replace("127.0.0.1:0", &lintel.at("admin").to_string());
        }
        let good = whole(&(front(&[&origin], "") + &place));
        for broken in [
            good.replace("    to: web\n", "    to: web\n    timeuot: 5s\n"),
            good.replace("routes:\n", "routes: [\n"),
            format!("listeners: {{\n{good}"),
            format!("\t{good}"),
            good.replace("    to: web\n", "    to: ${NOT_SET_ANYWHERE}\n"),
            format!("{good}\u{7}\n"),
        ] {
            std::fs::write(lintel.config_path(), &broken).unwrap();
            let said = lintel.run(&["status"]).await;
            assert_eq!(said.code, Some(0), "{said:?} with\n{broken}");
            let said = lintel.run(&["reload"]).await;
            assert!(said.stderr.contains("nothing has changed"), "{said:?} with\n{broken}");
        }
    }
}

#[tokio::test]
async fn a_command_without_a_process_says_so_plainly() {
    let origin = Origin::named("one");
    let lintel = Lintel::start(front(&[&origin], "")).await;
    let folder = lintel.path().to_owned();
    std::fs::rename(folder.join("run/admin.sock"), folder.join("run/moved.sock")).unwrap();
    for broken in [None, Some("nonsense: [")] {
        if let Some(broken) = broken {
            std::fs::write(lintel.config_path(), broken).unwrap();
        }
        for command in ["status", "reload"] {
            let said = lintel.run(&[command]).await;
            assert_eq!(said.code, Some(1));
            let place = folder.join("run/admin.sock");
            assert!(
                said.stderr.contains("no Lintel answers at") && said.stderr.contains(place.to_str().unwrap()),
                "{said:?}"
            );
        }
    }
}

#[tokio::test]
async fn the_process_is_found_where_it_was_while_its_new_place_is_not_in_force() {
    let origin = Origin::named("one");
    let mut lintel = Lintel::start(front(&[&origin], "")).await;
    let socket = lintel.path().join("other.sock");
    lintel.rewrite(
        &(front(&[&origin], "") + &format!("admin: {{ address: \"unix:{}\" }}\n", socket.display())),
    );
    let before = lintel.in_force();
    let said = lintel.run(&["reload"]).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    lintel.taken(before).await;
    assert!(socket.exists());
    assert_eq!(lintel.run(&["status"]).await.code, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_go_on_through_refused_reloads_by_every_way_to_ask() {
    let origin = Origin::named("one");
    let mut lintel = Lintel::start(front(&[&origin], "") + "runtime: { watch: true }\n").await;
    let load = Load::start(lintel.http(), Rate::gets(Mode::KeepAlive, 100));
    let refusals = |lintel: &Lintel| {
        lintel.log.records().iter().filter(|line| message_of(line).starts_with("config refused: ")).count()
    };
    for ask in 0..3 {
        let seen = refusals(&lintel);
        lintel.rewrite(&format!("nonsense{ask}: 1\n"));
        match ask {
            0 => lintel.signal(rustix::process::Signal::HUP),
            1 => assert_eq!(lintel.order("/reload").await.status(), 422),
            _ => {}
        }
        eventually("it is refused", async || (refusals(&lintel) > seen).then_some(())).await;
        load.goes_on(10).await;
    }
    let before = lintel.in_force();
    lintel.rewrite(&(front(&[&origin], "") + "runtime: { watch: true }\n"));
    lintel.taken(before).await;
    load.goes_on(10).await;
    load.tally().await.assert_whole();
}

#[tokio::test]
async fn what_a_refused_file_says_of_logs_is_not_in_force() {
    let origin = Origin::named("one");
    let logs = |path: &str, end: &str| {
        format!(
            "{}observability:\n  access_log: {{ path: {path}, format: json }}\n  log: {{ format: json }}\n  metrics: {{ address: \"127.0.0.1:0\" }}\n{end}",
            front(&[&origin], "")
        )
    };
    let mut lintel = Lintel::start(logs("a.log", "")).await;
    let lines =
        |name: &str| std::fs::read_to_string(lintel.path().join(name)).unwrap_or_default().lines().count();
    get(lintel.http(), "/1").await;
    eventually("the first line", async || (lines("a.log") == 1).then_some(())).await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let also = format!("listeners:\n  second: {{ address: \"{}\" }}\n", taken.local_addr().unwrap());
    let refused = lintel.try_reload(&logs("b.log", "").replace("listeners:\n", &also)).await;
    assert_eq!(refused.status(), 422);
    get(lintel.http(), "/2").await;
    eventually("the second line", async || (lines("a.log") == 2).then_some(())).await;
    lintel.metric("lintel_access_log_lines_total", &[], 2.0).await;
    assert_eq!(lines("b.log"), 0);
    // The other one, when it is taken; nothing is lost on the way.
    let path = lintel.path().to_owned();
    let lines = |name: &str| std::fs::read_to_string(path.join(name)).unwrap_or_default().lines().count();
    lintel.reload(&logs("b.log", "")).await;
    get(lintel.http(), "/3").await;
    eventually("the third line", async || (lines("b.log") == 1).then_some(())).await;
    assert_eq!(lines("a.log"), 2);
    lintel.reload(&logs("a.log", "")).await;
    get(lintel.http(), "/4").await;
    eventually("the fourth line", async || (lines("a.log") == 3).then_some(())).await;
}
