//! Whether metrics that are asked for are there, with the labels that are asked for. docs/metrics.md, made from the code,
//! knows them all.

use std::collections::{BTreeMap, BTreeSet};

use regex::Regex;

use super::{board, items, read, text, yaml};

/// What Prometheus adds by itself, and what deploy/prometheus.yml does.
const ADDED_LABELS: [&str; 4] = ["job", "instance", "machine", "tier"];

/// Each metric and its labels.
fn known() -> BTreeMap<String, BTreeSet<String>> {
    let row = Regex::new(r"(?m)^\| `([a-z0-9_]+)` \| (counter|gauge|histogram) \| (.*?) \|").unwrap();
    let mut known = BTreeMap::new();
    for found in row.captures_iter(&read("docs/metrics.md")) {
        let mut labels: BTreeSet<String> = found[3].split(['`', ',', ' ']).map(str::to_owned).collect();
        labels.extend(ADDED_LABELS.map(str::to_owned));
        let name = found[1].to_owned();
        if &found[2] == "histogram" {
            for end in ["_sum", "_count"] {
                known.insert(format!("{name}{end}"), labels.clone());
            }
            labels.insert("le".to_owned());
            known.insert(format!("{name}_bucket"), labels);
        } else {
            known.insert(name, labels);
        }
    }
    assert!(known.len() > 50, "docs/metrics.md has its tables");
    known
}

/// What is wrong with a query.
fn problems(known: &BTreeMap<String, BTreeSet<String>>, query: &str) -> Vec<String> {
    let name = Regex::new(r#"\b((?:lintel|process)_[a-z0-9_]+)\b(?:\{([^}]*)\})?"#).unwrap();
    let label = Regex::new(r"([a-z_]+)\s*(?:=~|!~|!=|=)").unwrap();
    let group = Regex::new(r"\bby\s*\(([^)]*)\)").unwrap();
    let mut wrong = Vec::new();
    let mut allowed = BTreeSet::new();
    for found in name.captures_iter(query) {
        let Some(labels) = known.get(&found[1]) else {
            wrong.push(format!("there is no metric {}", &found[1]));
            continue;
        };
        allowed.extend(labels);
        for used in label.captures_iter(found.get(2).map_or("", |matchers| matchers.as_str())) {
            if !labels.contains(&used[1]) {
                wrong.push(format!("{} has no label {}", &found[1], &used[1]));
            }
        }
    }
    for found in group.captures_iter(query) {
        for used in found[1].split(',').map(str::trim).filter(|used| !allowed.contains(&(*used).to_owned())) {
            wrong.push(format!("there is no label {used} to group by"));
        }
    }
    wrong
}

fn refuse(place: &str, queries: impl IntoIterator<Item = String>) {
    let known = known();
    let wrong: Vec<String> = queries
        .into_iter()
        .flat_map(|query| {
            problems(&known, &query)
                .into_iter()
                .map(move |problem| format!("{problem}: {query}"))
                .collect::<Vec<_>>()
        })
        .collect();
    assert!(wrong.is_empty(), "{place}:\n{}", wrong.join("\n"));
}

#[test]
fn the_board_asks_for_metrics_and_labels_that_exist() {
    let queries: Vec<String> = board::queries();
    assert!(queries.len() > 50, "{}", queries.len());
    refuse(board::PATH, queries);
}

#[test]
fn alerts_ask_for_metrics_and_labels_that_exist() {
    let alerts = yaml("deploy/alerts.yml");
    let rules: Vec<_> = items(&alerts["groups"]).flat_map(|group| items(&group["rules"])).collect();
    assert!(rules.len() >= 10);
    refuse("deploy/alerts.yml", rules.iter().map(|rule| text(&rule["expr"]).to_owned()));
}

#[test]
fn pages_name_metrics_that_exist() {
    let known = known();
    let name = Regex::new(
        r"\blintel_(listener|route|pool|server|worker|certificate|config|access|log)_[a-z0-9_]+\b",
    )
    .unwrap();
    for entry in std::fs::read_dir(super::root().join("docs")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "md") {
            continue;
        }
        let page = std::fs::read_to_string(&path).unwrap();
        for found in name.find_iter(&page) {
            // A family is named by its beginning: `lintel_worker_*`.
            let is_beginning = page[found.end()..].starts_with('*');
            let is_histogram = known.contains_key(&format!("{}_bucket", found.as_str()));
            assert!(
                is_beginning || is_histogram || known.contains_key(found.as_str()),
                "{} names {}, which is no metric",
                path.display(),
                found.as_str()
            );
        }
    }
}

#[test]
fn a_wrong_name_or_label_is_caught() {
    let known = known();
    let wrong = |query: &str| problems(&known, query);
    assert_eq!(wrong("lintel_route_request_total"), ["there is no metric lintel_route_request_total"]);
    assert_eq!(wrong("lintel_server_up{machin=\"a\"}"), ["lintel_server_up has no label machin"]);
    assert_eq!(wrong("sum by (ruote) (lintel_server_up)"), ["there is no label ruote to group by"]);
    assert_eq!(wrong("sum by (le) (lintel_server_up)"), ["there is no label le to group by"]);
    assert!(wrong("sum by (server, le) (lintel_server_connect_seconds_bucket{tier=\"a\"})").is_empty());
}
