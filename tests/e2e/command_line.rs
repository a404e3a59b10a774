//! The binary as a person uses it: `check`, `schema`, `run` with what cannot work, `--version`.

use std::process::Output;

use crate::support::lintel::{Setup, front};
use crate::support::tls::Authority;
use crate::support::{Origin, within};

async fn run(setup: &Setup, arguments: &[&str]) -> Output {
    let mut command = tokio::process::Command::from(setup.command(arguments));
    within("the command ends", command.output()).await.expect("the binary runs")
}

/// stdout and stderr.
fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[tokio::test]
async fn check_says_yes_to_a_good_file_and_all_problems_of_a_bad_one() {
    let origin = Origin::down("any");
    let good = run(&Setup::new(front(&[&origin], "")), &["check", "-c", "lintel.yaml"]).await;
    assert_eq!(good.status.code(), Some(0), "{}", text(&good));

    let yaml = front(&[&origin], "balanse: random\nqueue: { timeout: 5 }").replace("to: web", "to: nobody");
    let bad = run(&Setup::new(yaml), &["check", "-c", "lintel.yaml"]).await;
    let report = text(&bad);
    assert_eq!(bad.status.code(), Some(1), "{report}");
    for part in ["lintel.yaml:7:", "balanse", "balance", "^"] {
        assert!(report.contains(part), "no {part} in:\n{report}");
    }
    assert!(!report.contains("panicked"), "{report}");
}

#[tokio::test]
async fn run_refuses_what_check_refuses() {
    let setup = Setup::new("listeners: {}\nrouts: []\n");
    let output = run(&setup, &["run", "-c", "lintel.yaml"]).await;
    assert_ne!(output.status.code(), Some(0));
    assert!(text(&output).contains("routs"), "{}", text(&output));
    let output = run(&setup, &["run", "-c", "nowhere.yaml"]).await;
    assert_ne!(output.status.code(), Some(0));
    assert!(text(&output).contains("nowhere.yaml"), "{}", text(&output));
}

#[tokio::test]
async fn certificate_files_are_loaded_and_checked() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(folder.path(), "authority");
    let (a, b) = (authority.issue(&["a.test"]), authority.issue(&["b.test"]));
    let origin = Origin::down("any");
    for (cert, key, expected) in [
        (a.cert.display().to_string(), b.key.display().to_string(), "key"),
        ("nowhere.crt".to_owned(), a.key.display().to_string(), "nowhere.crt"),
        (a.key.display().to_string(), a.key.display().to_string(), "certificate"),
    ] {
        let tls = format!("\"127.0.0.1:0\"\n    tls: {{ certificates: [{{ cert: {cert}, key: {key} }}] }}\n");
        let yaml = front(&[&origin], "").replace("\"127.0.0.1:0\"\n", &tls);
        for command in ["check", "run"] {
            let output = run(&Setup::new(&*yaml), &[command, "-c", "lintel.yaml"]).await;
            assert_eq!(output.status.code(), Some(1), "{command}: {}", text(&output));
            assert!(text(&output).contains(expected), "{command}: no {expected} in {}", text(&output));
        }
    }
}

#[tokio::test]
async fn an_address_that_is_taken_is_a_problem_and_not_a_panic() {
    let origin = Origin::named("any");
    let yaml = front(&[&origin], "").replace("\"127.0.0.1:0\"", &format!("\"{}\"", origin.address()));
    let output = run(&Setup::new(yaml), &["run", "-c", "lintel.yaml"]).await;
    assert_ne!(output.status.code(), Some(0));
    let report = text(&output);
    assert!(report.contains(&origin.address()) && !report.contains("panicked"), "{report}");
}

#[tokio::test]
async fn schema_and_version_are_printed() {
    let setup = Setup::new("");
    let schema = run(&setup, &["schema"]).await;
    let schema: serde_json::Value = serde_json::from_slice(&schema.stdout).expect("JSON");
    for key in ["listeners", "pools", "routes", "defaults"] {
        assert!(schema["properties"][key].is_object(), "no {key}");
    }
    let version = run(&setup, &["--version"]).await;
    assert!(text(&version).contains(env!("CARGO_PKG_VERSION")), "{}", text(&version));
    for command in [&["--help"][..], &["run", "--help"], &["check", "--help"]] {
        let help = run(&setup, command).await;
        assert_eq!(help.status.code(), Some(0));
        assert!(text(&help).contains("Usage"), "{}", text(&help));
    }
}
