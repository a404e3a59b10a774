//! docker-compose.yml, the Dockerfile and the configs of both tiers.

use std::collections::BTreeSet;

use regex::Regex;
use serde_json::Value;

use super::{items, lintel, read, text, yaml};

/// Keys that Compose 1.29 (Debian 12) and Compose 2 take alike. `version` is not among them: Compose 2 complains of it.
const TOP_KEYS: [&str; 2] = ["services", "volumes"];
const SERVICE_KEYS: [&str; 16] = [
    "build",
    "cap_drop",
    "command",
    "depends_on",
    "environment",
    "healthcheck",
    "image",
    "ports",
    "read_only",
    "restart",
    "security_opt",
    "stop_grace_period",
    "tmpfs",
    "volumes",
    "user",
    "<<",
];

fn keys(value: &Value) -> impl Iterator<Item = &str> {
    value.as_object().into_iter().flatten().map(|(key, _)| key.as_str())
}

#[test]
fn every_key_is_one_that_old_and_new_compose_take() {
    let compose = yaml("docker-compose.yml");
    for key in keys(&compose).filter(|key| !key.starts_with("x-")) {
        assert!(TOP_KEYS.contains(&key), "{key}");
    }
    for (service, spec) in compose["services"].as_object().unwrap() {
        for key in keys(spec) {
            assert!(SERVICE_KEYS.contains(&key), "{service}.{key}");
        }
    }
}

#[test]
fn base_images_are_those_of_the_dockerfile() {
    let dockerfile = read("Dockerfile");
    let argument = Regex::new(r"(?m)^ARG ([A-Z_]+)=(.+)$").unwrap();
    let in_dockerfile: BTreeSet<(String, String)> =
        argument.captures_iter(&dockerfile).map(|found| (found[1].to_owned(), found[2].to_owned())).collect();
    let compose = read("docker-compose.yml");
    let default = Regex::new(r"(?m)^ +([A-Z_]+): \$\{([A-Z_]+):-(.+)\}$").unwrap();
    let in_compose: BTreeSet<(String, String)> = default
        .captures_iter(&compose)
        .filter(|found| found[1] == found[2])
        .map(|found| (found[1].to_owned(), found[3].to_owned()))
        .filter(|(name, _)| name != "SESSION_SECRET")
        .collect();
    assert_eq!(in_compose, in_dockerfile);
}

#[test]
fn the_front_door_knows_the_servers_of_the_composition() {
    let compose = yaml("docker-compose.yml");
    let nodes: BTreeSet<&str> = keys(&compose["services"]).filter(|name| name.starts_with("node")).collect();
    assert_eq!(nodes.len(), 3);
    for (name, pool) in &lintel("conf/compose.yaml").pools {
        let servers: Vec<String> = pool.servers.iter().map(|server| server.address.to_string()).collect();
        let expected: Vec<String> = nodes.iter().map(|node| format!("{node}:3000")).collect();
        assert_eq!(servers, expected, "pool {name}");
        assert!(pool.health_check.is_some(), "pool {name} is checked");
    }
    let scraped = read("deploy/prometheus.yml");
    for machine in nodes.iter().chain(&["lintel"]) {
        assert!(scraped.contains(machine), "{machine} is scraped");
    }
}

#[test]
fn the_two_tiers_have_cookies_of_different_names() {
    let cookies = |path: &str| -> BTreeSet<String> {
        let file = yaml(path);
        let pools = file["pools"].as_object().unwrap().values();
        pools.filter_map(|pool| pool["sticky"]["cookie"].as_str().map(str::to_owned)).collect()
    };
    let (front, server) = (cookies("conf/compose.yaml"), cookies("conf/compose-node.yaml"));
    assert!(!front.is_empty() && !server.is_empty());
    assert!(front.is_disjoint(&server), "{front:?} {server:?}");
}

#[test]
fn docker_waits_longer_than_lintel_drains() {
    let compose = yaml("docker-compose.yml");
    for (service, path) in [("lintel", "conf/compose.yaml"), ("node1", "conf/compose-node.yaml")] {
        let grace: u64 =
            text(&compose["services"][service]["stop_grace_period"]).trim_end_matches('s').parse().unwrap();
        let file = lintel(path);
        let workers = file
            .pools
            .values()
            .filter_map(|pool| pool.app.as_ref())
            .map(|app| 2 * app.stop.timeout.std().as_secs());
        let needed = file.runtime.drain_timeout.std().as_secs() + workers.max().unwrap_or(0);
        assert!(grace > needed, "{service}: {grace} s for {needed} s");
    }
}

#[test]
fn every_service_is_mounted_files_that_exist() {
    let compose = yaml("docker-compose.yml");
    for (service, spec) in compose["services"].as_object().unwrap() {
        for volume in items(&spec["volumes"]).map(text).filter(|volume| volume.starts_with("./")) {
            let path = volume.split(':').next().unwrap();
            assert!(super::root().join(path).exists(), "{service}: {path}");
            assert!(volume.ends_with(":ro"), "{service} has no need to write to {path}");
        }
    }
}
