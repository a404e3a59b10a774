//! Keeps docs/metrics.md and docs/access-log.md true: the tables in them are made from the code, and a test compares.
//!
//! After a change, `BLESS=1 cargo test --lib observe::metrics::reference` writes them anew.

use std::fmt::Write;
use std::path::Path;

use super::family::{Cells, Family};
use super::*;
use crate::observe::{Fault, Label};

fn families<T: Cells>(text: &mut String, title: &str) {
    writeln!(text, "\n### {title}\n\n| Metric | Type | Labels | Meaning |\n| --- | --- | --- | --- |")
        .unwrap();
    for Family { name, kind, labels, help, .. } in T::FAMILIES {
        let labels: Vec<_> = T::LABELS.iter().chain(*labels).map(|label| format!("`{label}`")).collect();
        let kind = format!("{kind:?}").to_lowercase();
        writeln!(text, "| `{name}` | {kind} | {} | {help} |", labels.join(", ")).unwrap();
    }
}

fn values<L: Label>(text: &mut String, metric: &str) {
    writeln!(text, "\n### `{}` of {metric}\n\n| Value | Meaning |\n| --- | --- |", L::NAME).unwrap();
    for label in L::ALL {
        writeln!(text, "| `{}` | {} |", label.as_str(), label.meaning()).unwrap();
    }
}

fn metrics_reference() -> String {
    let mut text = String::new();
    families::<ListenerCells>(&mut text, "Listeners");
    families::<RouteCells>(&mut text, "Routes");
    families::<PoolCells>(&mut text, "Pools");
    families::<ServerCells>(&mut text, "Servers");
    families::<WorkerCells>(&mut text, "Workers");
    families::<CertificateCells>(&mut text, "Certificates");
    families::<ProcessCells>(&mut text, "The process");
    values::<CloseReason>(&mut text, "`lintel_listener_closed_total`");
    values::<Handshake>(&mut text, "`lintel_listener_tls_handshakes_total`");
    values::<HandshakeFailure>(&mut text, "`lintel_listener_tls_failures_total`");
    values::<Malformation>(&mut text, "`lintel_listener_malformed_total`");
    values::<ClientTimeout>(&mut text, "`lintel_listener_timeouts_total`");
    values::<RequestVersion>(&mut text, "`lintel_listener_requests_total`");
    values::<Http2Flood>(&mut text, "`lintel_listener_http2_floods_total`");
    values::<Http2Error>(&mut text, "`lintel_listener_http2_errors_total`");
    values::<Fault>(&mut text, "`lintel_route_faults_total`");
    values::<RetryReason>(&mut text, "`lintel_pool_retries_total`");
    values::<StickyOutcome>(&mut text, "`lintel_pool_sticky_total`");
    values::<ServerFailure>(&mut text, "`lintel_server_failures_total`");
    values::<CheckOutcome>(&mut text, "`lintel_server_checks_total`");
    text
}

fn access_log_reference() -> String {
    let mut text = String::from("\n| Key | Meaning |\n| --- | --- |\n");
    for (key, meaning) in crate::observe::access_log::KEYS {
        writeln!(text, "| `{key}` | {meaning} |").unwrap();
    }
    values::<Fault>(&mut text, "a line");
    text
}

/// Compares the part between the two marks of a file, or writes it with `BLESS=1`.
fn compare(file: &str, made: &str) {
    const MARKS: [&str; 2] = ["<!-- made from the code: begin -->\n", "\n<!-- made from the code: end -->"];
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(file);
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(MARKS[0]).expect("the first mark is there");
    let (written, after) = rest.split_once(MARKS[1]).expect("the second mark is there");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, [before, MARKS[0], made, MARKS[1], after].concat()).unwrap();
    } else {
        assert!(
            written == made,
            "{file} is stale; run `BLESS=1 cargo test --lib observe::metrics::reference`"
        );
    }
}

#[test]
fn every_metric_stands_in_the_docs_with_its_labels_and_help() {
    compare("metrics.md", &metrics_reference());
}

#[test]
fn every_key_and_fault_stands_in_the_docs() {
    compare("access-log.md", &access_log_reference());
}

#[test]
fn names_and_help_keep_the_rules() {
    fn check<T: Cells>() {
        for family in T::FAMILIES {
            let name = family.name;
            assert!(name.starts_with("lintel_") || name.starts_with("process_"), "{name}");
            assert_eq!(name.ends_with("_total"), format!("{:?}", family.kind) == "Counter", "{name}");
            assert!(family.help.ends_with('.') && !family.help.contains('|'), "{name}");
        }
    }
    check::<ListenerCells>();
    check::<RouteCells>();
    check::<PoolCells>();
    check::<ServerCells>();
    check::<WorkerCells>();
    check::<CertificateCells>();
    check::<ProcessCells>();
    let mut names: Vec<_> = Fault::ALL.iter().map(|fault| fault.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), Fault::ALL.len());
}
