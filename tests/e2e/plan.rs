//! `lintel plan` and the masked config: what would change is told, and nothing does.

use serde_json::Value;
use tokio::net::TcpStream;

use crate::support::lintel::{Said, Setup, front};
use crate::support::port::Port;
use crate::support::{Connection, Lintel, Origin, eventually, get};

async fn plan(lintel: &Lintel, yaml: &str) -> Said {
    lintel.rewrite(yaml);
    lintel.run(&["plan"]).await
}

async fn plan_as_json(lintel: &Lintel, yaml: &str) -> Value {
    lintel.rewrite(yaml);
    let said = lintel.run(&["plan", "--json"]).await;
    serde_json::from_str(&said.stdout).unwrap_or_else(|error| panic!("{error}: {said:?}"))
}

/// An origin that takes requests and answers none of them.
fn silent() -> Origin {
    Origin::scripted(|mut talk| async move {
        while talk.request().await.is_some() {
            talk.hang().await;
        }
    })
}

#[tokio::test]
async fn a_plan_says_what_a_reload_would_change_and_changes_nothing() {
    let (one, two, slow) = (Origin::named("one"), Origin::named("two"), silent());
    let before = front(&[&one, &slow], "balance: round_robin");
    let lintel = Lintel::start(before.clone()).await;
    // In turn: one of them is answered, the other one is not.
    let mut open = Vec::new();
    for _ in 0..2 {
        let mut connection = Connection::open(lintel.http()).await;
        connection.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        open.push(connection);
    }
    eventually("both servers have a request", async || (one.count() == 1 && slow.count() == 1).then_some(()))
        .await;
    let same = plan(&lintel, &before).await;
    assert_eq!((same.code, same.stdout.as_str()), (Some(0), "nothing would change\n"), "{same:?}");

    let spare = Port::reserve();
    let after = front(&[&one, &two], "balance: p2c")
        .replace("http:\n", "http:\n    limits: { body: 1MiB }\n")
        .replace("listeners:\n", &format!("listeners:\n  spare: {{ address: \"{}\" }}\n", spare.address()))
        .replace(
            "routes:\n",
            "routes:\n  - { name: hello, match: { path: /hello }, respond: { body: hello } }\n",
        );
    let said = plan(&lintel, &after).await;
    assert_eq!(said.code, Some(2), "{said:?}");
    let (two, slow) = (two.address(), slow.address());
    for line in [
        "Listeners".to_owned(),
        "  ~ listener http".to_owned(),
        "      limits.body: 100MiB -> 1MiB".to_owned(),
        "  + listener spare".to_owned(),
        "Pools".to_owned(),
        "  ~ pool web".to_owned(),
        "      balance: round_robin -> p2c".to_owned(),
        format!("  + server {two} of web"),
        format!("  - server {slow} of web"),
        "      => 1 request in flight may go on for 30s; then WebSockets say goodbye and the rest is cut"
            .to_owned(),
        "Routes".to_owned(),
        "  + route hello".to_owned(),
        "      match: { path: /hello }".to_owned(),
        "3 added, 1 removed, 2 changed".to_owned(),
    ] {
        assert!(said.stdout.lines().any(|found| found == line), "no `{line}` in\n{}", said.stdout);
    }
    assert!(said.stdout.contains(" open: they keep the settings from before"), "{}", said.stdout);

    let servers: Vec<Value> = lintel.status().await["pools"][0]["servers"].as_array().unwrap().clone();
    let names: Vec<&str> = servers.iter().map(|server| server["name"].as_str().unwrap()).collect();
    assert_eq!(names, [one.address(), slow.clone()], "the servers are those from before");
    assert_ne!(get(lintel.http(), "/hello").await.text(), "hello");
    assert!(TcpStream::connect(spare.address()).await.is_err(), "nobody listens there yet");
    // Servers that were only looked at have not taken the places of those that serve.
    let metrics = lintel.metrics().await;
    assert!(metrics.sum("lintel_server_in_flight", &[("server", &slow)]) >= 1.0);
    assert!(!metrics.has("lintel_server_up", &[("server", &two)]));
    assert_eq!(lintel.in_force(), 0);

    assert_eq!(lintel.order("/reload").await.status(), 200);
    let after_it = lintel.run(&["plan"]).await;
    assert_eq!(
        (after_it.code, after_it.stdout.as_str()),
        (Some(0), "nothing would change\n"),
        "{after_it:?}"
    );
}

#[tokio::test]
async fn a_file_with_problems_has_no_plan() {
    let origin = Origin::named("one");
    let lintel = Lintel::before(&[&origin], "").await;
    let taken = origin.address();
    for (yaml, problem) in [
        (front(&[&origin], "balanse: random"), "balanse"),
        (front(&[&origin], "").replace("to: web", "to: nobody"), "nobody"),
        (front(&[&origin], "").replace("127.0.0.1:0", &taken), "another program listens on"),
        (
            front(&[&origin], "") + "observability: { access_log: { path: /nowhere/access.log } }\n",
            "cannot open the access log /nowhere/access.log",
        ),
        ("listeners: [\n".to_owned(), "this is not YAML"),
    ] {
        let said = plan(&lintel, &yaml).await;
        assert_eq!((said.code, said.stdout.as_str()), (Some(1), ""), "{said:?}");
        assert!(said.stderr.contains(problem) && said.stderr.contains("lintel.yaml:"), "{said:?}");
        let told = plan_as_json(&lintel, &yaml).await;
        let mut texts =
            told["problems"].as_array().unwrap().iter().map(|problem| problem["text"].to_string());
        assert!(texts.any(|text| text.contains(problem)), "no {problem} in {told}");
    }
    let metrics = lintel.metrics().await;
    assert_eq!(metrics.sum("lintel_config_last_load_ok", &[]), 1.0, "a plan is no try to load");
    assert_eq!(get(lintel.http(), "/").await.text(), "one");
}

#[tokio::test]
async fn without_a_lintel_that_runs_there_is_no_plan() {
    let setup = Setup::new(front(&[&Origin::down("any")], ""));
    let mut command = tokio::process::Command::from(setup.command(&["plan", "-c", "lintel.yaml"]));
    let output = command.output().await.unwrap();
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(error.contains("no Lintel answers") && error.contains("lintel run"), "{error}");
}

#[tokio::test]
async fn secrets_are_in_no_plan_and_in_no_config() {
    let origin = Origin::named("one");
    let job = |env: &str| {
        front(&[&origin], "").replace(
            "routes:\n",
            &format!("  jobs:\n    app: {{ command: sleep 600, task: true, preload: false, instances: 1, env: {{ {env} }} }}\nroutes:\n"),
        )
    };
    let setup = Setup::new(job("SESSION_SECRET: hunter2, URL: \"${URL}\", PLAIN: shown"));
    let lintel = setup.env("URL", "redis://u:hunter2@h").env("OTHER", "hunter2-too").start().await;
    let answer = lintel.control("GET", "/config").await;
    assert_eq!(answer.status(), 200);
    let text = answer.text();
    assert!(!text.contains("hunter2"), "{text}");
    let shown: Value = serde_json::from_str(&text).unwrap();
    let env = &shown["config"]["pools"]["jobs"]["app"]["env"];
    assert_eq!(env["SESSION_SECRET"], "(hidden)");
    assert_eq!((env["URL"].as_str(), env["PLAIN"].as_str()), (Some("${URL}"), Some("shown")));
    assert_eq!(shown["config"]["pools"]["web"]["queue"]["size"], 200, "defaults are written out");
    assert_eq!(lintel.control("POST", "/config").await.status(), 405);
    assert_eq!(lintel.control("POST", "/plan").await.status(), 405);

    let said = plan(&lintel, &job("SESSION_SECRET: hunter3, URL: \"${OTHER}\", PLAIN: shown")).await;
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(!format!("{said:?}").contains("hunter"), "{said:?}");
    for line in ["      env.SESSION_SECRET: (changed)", "      env.URL: ${URL} -> ${OTHER}"] {
        assert!(said.stdout.lines().any(|found| found == line), "no `{line}` in\n{}", said.stdout);
    }

    // The variables are those of the Lintel that runs; the shell of the command need not have them.
    let mut elsewhere = tokio::process::Command::new(env!("CARGO_BIN_EXE_lintel"));
    elsewhere.args(["plan", "-c", "lintel.yaml"]).current_dir(lintel.path());
    elsewhere.env("RUNTIME_DIRECTORY", lintel.path().join("run"));
    elsewhere.env("STATE_DIRECTORY", lintel.path().join("state"));
    elsewhere.env_remove("URL").env_remove("OTHER");
    let output = elsewhere.output().await.unwrap();
    assert_eq!(
        (output.status.code(), String::from_utf8_lossy(&output.stdout)),
        (Some(2), said.stdout.into())
    );
}

#[tokio::test]
async fn workers_do_what_the_plan_said() {
    let origin = Origin::named("one");
    let jobs = |instances: u16, mode: &str| {
        let app = format!(
            "  jobs:\n    app: {{ command: sleep 600, task: true, preload: false, instances: {instances}, env: {{ MODE: {mode} }} }}\nroutes:\n"
        );
        front(&[&origin], "").replace("routes:\n", &app)
    };
    let mut lintel = Lintel::start(jobs(2, "one")).await;
    let pids = async |lintel: &Lintel, wanted: usize| {
        eventually(&format!("{wanted} workers are ready"), async || {
            let status = lintel.status().await;
            let pool =
                status["pools"].as_array().unwrap().iter().find(|pool| pool["name"] == "jobs").cloned()?;
            let workers = pool["app"]["workers"].as_array()?.clone();
            let ready = workers.iter().all(|worker| worker["state"] == "ready");
            let settled = ready && workers.len() == wanted && pool["app"]["rolling_out"] == false;
            settled.then(|| workers.iter().map(|worker| worker["pid"].as_u64().unwrap()).collect::<Vec<_>>())
        })
        .await
    };
    let first = pids(&lintel, 2).await;

    let said = plan(&lintel, &jobs(3, "one")).await;
    assert!(said.stdout.contains("=> 1 worker more"), "{said:?}");
    lintel.reload(&jobs(3, "one")).await;
    let scaled = pids(&lintel, 3).await;
    assert_eq!(scaled[..2], first, "none was started anew");

    let said = plan(&lintel, &jobs(3, "two")).await;
    assert!(said.stdout.contains("=> 3 workers will roll over, 1 at a time"), "{said:?}");
    assert!(said.stdout.contains("1 changed; workers of jobs will roll over"), "{said:?}");
    lintel.reload(&jobs(3, "two")).await;
    let after = eventually("all workers are new", async || {
        let after = pids(&lintel, 3).await;
        after.iter().all(|pid| !scaled.contains(pid)).then_some(after)
    })
    .await;
    assert_eq!(after.len(), 3);

    let said = plan(&lintel, &front(&[&origin], "")).await;
    assert!(said.stdout.contains("=> 3 workers will end"), "{said:?}");
}

#[tokio::test]
async fn what_was_ordered_and_is_not_kept_is_part_of_the_plan() {
    let origin = Origin::named("one");
    let yaml = front(&[&origin], "");
    let lintel = Lintel::start(yaml.clone()).await;
    let server = origin.address();
    assert_eq!(lintel.order(&format!("/pools/web/servers/{server}/weight?weight=7")).await.status(), 200);
    let said = plan(&lintel, &yaml).await;
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(said.stdout.contains("      weight: 7 (by order) -> 1\n"), "{said:?}");
    assert_eq!(
        lintel.order(&format!("/pools/web/servers/{server}/weight?weight=7&keep=1")).await.status(),
        200
    );
    let kept = plan(&lintel, &yaml).await;
    assert_eq!((kept.code, kept.stdout.as_str()), (Some(0), "nothing would change\n"), "{kept:?}");
    assert_eq!(lintel.order("/reload").await.status(), 200);
    let weight = || async { lintel.status().await["pools"][0]["servers"][0]["weight"].as_u64() };
    assert_eq!(weight().await, Some(7), "as the plan said");
}
