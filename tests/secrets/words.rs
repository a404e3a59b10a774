//! What is said of a config with secrets: by logs, commands and the control interface, also when the config has problems.

use serde_json::Value;

use crate::house::{CANARY, House, canary};
use crate::support::lintel::{Said, Setup};
use crate::support::{eventually, get, raw};

/// Every page of the control interface that is only looked at, with names filled in.
fn pages() -> Vec<String> {
    let described = include_str!("../../docs/openapi.json");
    let described: Value = serde_json::from_str(described).unwrap();
    let paths = described["paths"].as_object().unwrap();
    let looked_at = paths.iter().filter(|(path, operations)| {
        // Events go on for ever; they are lines of the program log.
        operations.get("get").is_some() && path.as_str() != "/events"
    });
    let pages: Vec<String> =
        looked_at.flat_map(|(path, _)| ["web", "jobs"].map(|pool| path.replace("{pool}", pool))).collect();
    assert!(pages.len() > 20, "{pages:?}");
    pages
}

fn text(said: &Said) -> String {
    format!("{}\n{}", said.stdout, said.stderr)
}

async fn look_everywhere(house: &House) {
    for page in pages() {
        house.holds_none(&page, &house.lintel.control("GET", &page).await.text());
    }
    house.holds_none("/metrics", &get(house.lintel.at("metrics"), "/metrics").await.text());
    for command in [
        &["check"] as &[&str],
        &["check", "--json"],
        &["plan"],
        &["plan", "--json"],
        &["status"],
        &["status", "--json"],
        &["logs", "jobs"],
    ] {
        house.holds_none(&command.join(" "), &text(&house.lintel.run(command).await));
    }
    house.holds_none("the program log", &house.lintel.log.text());
}

#[tokio::test]
async fn no_secret_of_a_config_is_told_by_logs_commands_or_the_control_interface() {
    let mut house = House::start().await;
    look_everywhere(&house).await;

    // Every secret becomes another one: the plan tells that they change and not what they are.
    let other = house.yaml.replace(CANARY, &format!("{CANARY}-other")).replace("http: {", "new: {");
    house.lintel.rewrite(&other);
    look_everywhere(&house).await;
    house.lintel.reload(&other).await;
    look_everywhere(&house).await;

    // A file with problems at and beside each of them.
    let bad = house
        .yaml
        .replace("API_KEY: \"${WORKER_SECRET}\"", "API_KEY: [\"${WORKER_SECRET}\"]")
        .replace("DB_PASSWORD:", "BAD NAME: x\n        DB_PASSWORD:")
        .replace(
            "sticky: { cookie: s, secret: { file: ",
            &format!("sticky: {{ cookie: s, secret: {CANARY}-misplaced, x: {{ file: "),
        )
        .replace("request: { set: {", "request: { sets: {}, set: { transfer-encoding: x,")
        .replace(
            &format!("x-auth-token: \"{CANARY}-match\""),
            &format!("x-auth-token: {{ regex: \"{CANARY}(\" }}"),
        )
        + &format!("admin: {{ address: \"127.0.0.1:0\", token: {CANARY}-misplaced-token }}\n");
    let refused = house.lintel.try_reload(&bad).await;
    assert_eq!(refused.status(), 422, "{}", refused.text());
    let problems =
        serde_json::from_slice::<Value>(&refused.body).unwrap()["problems"].as_array().unwrap().len();
    assert!(problems > 5, "{}", refused.text());
    house.holds_none("the refused reload", &refused.text());
    look_everywhere(&house).await;
    house.holds_none("lintel reload", &text(&house.lintel.run(&["reload"]).await));

    // One that is no YAML.
    house.lintel.rewrite(&house.yaml.replace("X-Api-Key:", "]"));
    look_everywhere(&house).await;
}

#[tokio::test]
async fn the_token_is_told_nowhere_whether_it_is_right_or_wrong() {
    let house = House::guarded().await;
    for (token, status) in [(canary("token"), "200"), (canary("wrong"), "401")] {
        for page in pages() {
            let ask = format!(
                "GET {page} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
            );
            let answer = String::from_utf8_lossy(&raw(house.lintel.at("admin"), ask).await).into_owned();
            house.holds_none(&page, &answer);
            if page == "/status" {
                assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
            }
        }
    }
    house.holds_none("the program log", &house.lintel.log.text());
}

#[tokio::test]
async fn a_start_that_fails_tells_no_secret() {
    let files = tempfile::tempdir().unwrap();
    let key = "MC4CAQAwBQYDK2VwBCIEIHNvIHRoaXMgaXMgbm90IGEga2V5IGF0IGFsbCBvayE";
    std::fs::write(files.path().join("a.key"), format!("-----BEGIN PRIVATE KEY-----\n{key}\n")).unwrap();
    std::fs::write(files.path().join("token"), "canary7f3a").unwrap();
    let folder = files.path().display();
    let yaml = format!(
        r#"
listeners: {{ http: {{ address: "127.0.0.1:0", tls: {{ certificates: [{{ cert: "{folder}/a.key", key: "{folder}/a.key" }}] }} }} }}
pools: {{ web: {{ servers: ["${{ADDRESS}}", "http://u:{CANARY}@h:1"] }} }}
policies: {{ a: [{{ headers: {{ request: {{ set: {{ Authorization: "Bearer {CANARY}\u0001" }} }} }} }}] }}
routes: [{{ to: web, policies: [a] }}]
admin: {{ address: "127.0.0.1:0", token: {{ file: "{folder}/token" }} }}
"#
    );
    let setup = Setup::new(yaml).env("ADDRESS", &canary("address that is none")).env("RUST_LOG", "trace");
    for arguments in [&["run", "-c", "lintel.yaml"] as &[&str], &["check", "-c", "lintel.yaml"]] {
        let output = setup.command(arguments).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("lintel.yaml:"), "{said}");
        assert!(!said.contains(CANARY) && !said.contains(key), "{said}");
    }
}

#[tokio::test]
async fn no_secret_is_in_the_arguments_of_a_process() {
    let house = House::start().await;
    let own = house.lintel.id();
    let arguments = eventually("the worker runs", async || {
        let lines = arguments_below(own);
        lines.iter().any(|line| line.contains("sleep")).then_some(lines)
    })
    .await;
    house.holds_none("the arguments of processes", &arguments.join("\n"));
}

/// Arguments of a process and of all below it.
fn arguments_below(process: u32) -> Vec<String> {
    let read = |file: &str| std::fs::read(format!("/proc/{process}/{file}")).unwrap_or_default();
    let mut lines = vec![String::from_utf8_lossy(&read("cmdline")).replace('\0', " ")];
    let tasks = std::fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    for task in tasks {
        let children = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
        lines.extend(children.split_whitespace().filter_map(|id| id.parse().ok()).flat_map(arguments_below));
    }
    lines
}
