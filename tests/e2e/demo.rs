//! The demo as `make run` starts it: conf/demo.yaml with other addresses and folders, and nothing else changed.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::lintel::Setup;
use crate::support::node::run_script;
use crate::support::tls::Authority;
use crate::support::{eventually, get, within};

/// conf/demo.yaml up to where it says what runs beside the tests too: the log's place, the admin address, folders.
fn config(folder: &Path, authority: &Authority) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(root.join("conf/demo.yaml")).unwrap();
    let (mut yaml, _) =
        text.split_once("\nobservability:").map(|(yaml, rest)| (yaml.to_owned(), rest)).unwrap();
    let leaf = authority.issue(&["localhost"]);
    let replaced = [
        ("\":8080\"", "\"127.0.0.1:0\"".to_owned()),
        ("\":8443\"", "\"127.0.0.1:0\"".to_owned()),
        ("../certs-dev/localhost.crt", leaf.cert.display().to_string()),
        ("../certs-dev/localhost.key", leaf.key.display().to_string()),
        ("${REDIS_URL:-}", String::new()),
        ("../target/demo/peers", folder.join("peers").display().to_string()),
        ("../logs", folder.join("logs").display().to_string()),
        ("../demo", root.join("demo").display().to_string()),
    ];
    for (theirs, ours) in replaced {
        assert!(yaml.contains(theirs), "conf/demo.yaml has {theirs}");
        yaml = yaml.replace(theirs, &ours);
    }
    yaml
}

async fn status(setup: &Setup) -> Value {
    let mut command =
        tokio::process::Command::from(setup.command(&["status", "-c", "lintel.yaml", "--json"]));
    let output = within("lintel status", command.output()).await.unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Process ids of the workers, once all are ready.
async fn workers(setup: &Setup) -> BTreeSet<u64> {
    eventually("three workers are ready", async || {
        let status = status(setup).await;
        let web = status["pools"].as_array()?.iter().find(|pool| pool["name"] == "web")?;
        let ready = web["app"]["workers"].as_array()?.iter().filter(|worker| worker["state"] == "ready");
        let ids: BTreeSet<u64> = ready.filter_map(|worker| worker["pid"].as_u64()).collect();
        (ids.len() == 3).then_some(ids)
    })
    .await
}

fn assert_works(report: &Value) {
    assert_eq!(report["answered"], json!([0, 1, 2]), "{report}");
    assert_eq!(report["visits"], json!([1, 2, 3, 4, 5, 6]), "a session stays on its worker: {report}");
    let rooms = report["rooms"].as_object().unwrap();
    assert!(rooms.values().all(|workers| workers.as_array().unwrap().len() == 1), "{report}");
    assert!(rooms.values().collect::<Vec<_>>().windows(2).any(|two| two[0] != two[1]), "{report}");
    assert_eq!(report["chat"], json!({ "on": [0, 1, 2], "told": true }), "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_demo_runs_by_lintel_alone_and_works_before_and_after_a_rollout() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(folder.path(), "authority");
    let yaml = config(folder.path(), &authority);
    let setup = Setup::new(yaml.as_str());
    let lintel = Setup::new(yaml.as_str()).start().await;
    let commands = setup.in_folder_of(&lintel);

    let redirect = get(lintel.http(), "/whoami?a=b").await;
    assert_eq!(redirect.status(), 308);
    let port = lintel.at("https").port();
    assert_eq!(redirect.field("location"), Some(format!("https://a.test:{port}/whoami?a=b").as_str()));

    let before = workers(&commands).await;
    let arguments = [format!("https://localhost:{port}"), authority.path.display().to_string()];
    assert_works(&run_script("demo-visit.mjs", &arguments).await);

    let mut rollout =
        tokio::process::Command::from(commands.command(&["rollout", "web", "-c", "lintel.yaml"]));
    let output = within("lintel rollout", rollout.output()).await.unwrap();
    assert!(output.status.success(), "{output:?}");
    let after = workers(&commands).await;
    assert_eq!(before.intersection(&after).count(), 0, "{before:?} {after:?}");
    assert_works(&run_script("demo-visit.mjs", &arguments).await);

    lintel.stop().await;
    let left: Vec<_> = std::fs::read_dir(folder.path().join("peers")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
    let running = after.iter().filter(|pid| Path::new(&format!("/proc/{pid}")).exists());
    assert_eq!(running.count(), 0, "{after:?}");
}
