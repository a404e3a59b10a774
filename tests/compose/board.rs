//! The Grafana board: that panels have a place, and that what they refer to is there.

use std::collections::BTreeSet;

use regex::Regex;
use serde_json::Value;

use super::{items, read, text, yaml};

pub const PATH: &str = "deploy/grafana/dashboards/lintel.json";

fn board() -> Value {
    serde_json::from_str(&read(PATH)).unwrap()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no whole number"))
}

/// Every query of the board: of panels, annotations and variables.
pub fn queries() -> Vec<String> {
    let board = board();
    let panels = items(&board["panels"]).flat_map(|panel| items(&panel["targets"])).map(|one| &one["expr"]);
    let annotations = items(&board["annotations"]["list"]).map(|one| &one["expr"]);
    let variables = items(&board["templating"]["list"]).map(|one| &one["definition"]);
    let all = panels.chain(annotations).chain(variables).filter(|query| !query.is_null());
    all.map(|query| text(query).to_owned()).collect()
}

#[test]
fn panels_lie_side_by_side_within_the_grid() {
    let board = board();
    let mut taken = BTreeSet::new();
    let mut ids = BTreeSet::new();
    for panel in items(&board["panels"]) {
        let title = &panel["title"];
        assert!(ids.insert(number(&panel["id"])), "{title}: its id is another panel's");
        let place = &panel["gridPos"];
        let [x, y, width, height] = ["x", "y", "w", "h"].map(|key| number(&place[key]));
        assert!(x + width <= 24, "{title} is wider than the board");
        for cell in (x..x + width).flat_map(|x| (y..y + height).map(move |y| (x, y))) {
            assert!(taken.insert(cell), "{title} covers another panel");
        }
    }
    let lowest = taken.iter().map(|(_, y)| y).max().unwrap();
    assert_eq!(taken.len() as u64, 24 * (lowest + 1), "there are no holes");
}

#[test]
fn queries_use_variables_that_are_defined() {
    let board = board();
    let mut defined: BTreeSet<&str> =
        items(&board["templating"]["list"]).map(|one| text(&one["name"])).collect();
    // Grafana's own.
    defined.insert("__rate_interval");
    let variable = Regex::new(r"\$\{?([a-z_]+)").unwrap();
    for query in queries() {
        for found in variable.captures_iter(&query) {
            assert!(defined.contains(&found[1]), "${} is not defined: {query}", &found[1]);
        }
    }
    for source in
        items(&board["panels"]).map(|panel| &panel["datasource"]["uid"]).filter(|uid| !uid.is_null())
    {
        assert_eq!(source, "${source}", "every panel asks the Prometheus that was chosen");
    }
}

#[test]
fn grafana_is_provisioned_with_what_the_composition_mounts() {
    let compose = yaml("docker-compose.yml");
    let grafana = &compose["services"]["grafana"];
    let mounted: Vec<&str> =
        items(&grafana["volumes"]).filter_map(|volume| text(volume).split(':').nth(1)).collect();
    let provider = yaml("deploy/grafana/provisioning/dashboards/lintel.yaml");
    let folder = text(&provider["providers"][0]["options"]["path"]);
    assert!(mounted.contains(&folder), "{folder} is not among {mounted:?}");
    let home = text(&grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]);
    assert_eq!(home.strip_prefix(folder), Some("/lintel.json"));

    let sources = yaml("deploy/grafana/provisioning/datasources/prometheus.yaml");
    let source = &sources["datasources"][0];
    assert_eq!((&source["type"], &source["isDefault"]), (&"prometheus".into(), &true.into()));
    assert_eq!(source["url"], "http://prometheus:9090");
    assert_eq!(
        source["jsonData"]["timeInterval"],
        yaml("deploy/prometheus.yml")["global"]["scrape_interval"]
    );
}
