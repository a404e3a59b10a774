//! deploy/kubernetes: that manifests and configs agree. scripts/compose-test holds them against Kubernetes' schema and
//! runs the pods.

use serde_json::Value;

use super::{items, lintel, read, root, text, yaml};

const FOLDER: &str = "deploy/kubernetes";

/// All manifests, of all files that kustomization.yaml names.
fn manifests() -> Vec<Value> {
    let kustomization = yaml(&format!("{FOLDER}/kustomization.yaml"));
    let files: Vec<&str> = items(&kustomization["resources"]).map(text).collect();
    files
        .iter()
        .flat_map(|file| {
            let all = read(&format!("{FOLDER}/{file}"));
            let parts: Vec<Value> =
                all.split("\n---\n").map(|part| serde_saphyr::from_str(part).unwrap()).collect();
            parts
        })
        .collect()
}

fn of_kind<'a>(manifests: &'a [Value], kind: &'a str) -> impl Iterator<Item = &'a Value> {
    manifests.iter().filter(move |manifest| manifest["kind"] == kind)
}

fn seconds(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no number of seconds"))
}

/// Deployments that run Lintel, each with the path of its config.
fn with_lintel(manifests: &[Value]) -> Vec<(&Value, String)> {
    let configs = [("lintel", "front"), ("demo", "demo")];
    let found: Vec<_> = configs
        .iter()
        .map(|(name, config)| {
            let is_it = |one: &&Value| one["metadata"]["name"] == *name;
            let deployment = of_kind(manifests, "Deployment").find(is_it).unwrap();
            (&deployment["spec"]["template"]["spec"], format!("{FOLDER}/config/{config}.yaml"))
        })
        .collect();
    found
}

#[test]
fn a_pod_has_time_for_all_that_its_end_takes() {
    for (pod, path) in with_lintel(&manifests()) {
        let file = lintel(&path);
        let container = &pod["containers"][0];
        let pre_stop = seconds(&container["lifecycle"]["preStop"]["sleep"]["seconds"]);
        let workers = file.pools.values().filter_map(|pool| pool.app.as_ref());
        let stop = workers.map(|app| 2 * app.stop.timeout.std().as_secs()).max().unwrap_or(0);
        let needed = pre_stop + file.runtime.drain_timeout.std().as_secs() + stop;
        let grace = seconds(&pod["terminationGracePeriodSeconds"]);
        assert!(grace >= needed, "{path}: {needed} s are needed, {grace} s are given");
    }
}

#[test]
fn pods_that_end_serve_until_the_front_doors_have_looked_again() {
    let manifests = manifests();
    let pods = with_lintel(&manifests);
    let pre_stop = seconds(&pods[1].0["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]);
    for (name, pool) in lintel(&pods[0].1).pools {
        assert!(pool.resolve.max_ttl.std().as_secs() < pre_stop, "pool {name}");
    }
}

#[test]
fn ports_probes_and_mounts_are_those_of_the_configs() {
    let manifests = manifests();
    for (pod, path) in with_lintel(&manifests) {
        let file = lintel(&path);
        let container = &pod["containers"][0];
        let port = |name: &str| {
            let found = items(&container["ports"]).find(|port| port["name"] == name);
            found.unwrap_or_else(|| panic!("{path}: no port {name}"))["containerPort"].clone()
        };
        for (name, listener) in &file.listeners {
            let expected = listener.address.to_string();
            assert!(expected.ends_with(&format!(":{}", port(name))), "{path}: {name} is on {expected}");
        }
        let metrics = file.observability.metrics.as_ref().unwrap().address.to_string();
        assert!(metrics.ends_with(&format!(":{}", port("metrics"))), "{path}: metrics are on {metrics}");
        assert_eq!(container["livenessProbe"]["httpGet"]["path"], "/livez", "a probe of Lintel alone");
        for mount in items(&container["volumeMounts"]) {
            assert!(items(&pod["volumes"]).any(|volume| volume["name"] == mount["name"]), "{path}: {mount}");
        }
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
        assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true);
    }
}

#[test]
fn services_and_budgets_choose_pods_that_exist() {
    let manifests = manifests();
    let labels: Vec<&Value> = of_kind(&manifests, "Deployment")
        .map(|one| {
            let labels = &one["spec"]["template"]["metadata"]["labels"];
            assert_eq!(&one["spec"]["selector"]["matchLabels"], labels);
            labels
        })
        .collect();
    for service in of_kind(&manifests, "Service") {
        assert!(labels.contains(&&service["spec"]["selector"]), "{service}");
    }
    for budget in of_kind(&manifests, "PodDisruptionBudget") {
        assert!(labels.contains(&&budget["spec"]["selector"]["matchLabels"]), "{budget}");
    }
}

#[test]
fn names_that_configs_and_pods_use_are_there() {
    let manifests = manifests();
    let services: Vec<&str> =
        of_kind(&manifests, "Service").map(|one| text(&one["metadata"]["name"])).collect();
    for (name, pool) in lintel(&format!("{FOLDER}/config/front.yaml")).pools {
        for server in pool.servers {
            let address = server.address.to_string();
            assert!(services.contains(&address.split(':').next().unwrap()), "pool {name}: {address}");
        }
    }
    let headless = of_kind(&manifests, "Service").find(|one| one["metadata"]["name"] == "demo").unwrap();
    assert_eq!(
        headless["spec"]["clusterIP"], "None",
        "Lintel balances over pods, not over connections to a service"
    );

    let kustomization = yaml(&format!("{FOLDER}/kustomization.yaml"));
    let generated: Vec<&str> =
        items(&kustomization["configMapGenerator"]).map(|one| text(&one["name"])).collect();
    for file in items(&kustomization["configMapGenerator"]).flat_map(|one| items(&one["files"])) {
        let (_, path) = text(file).split_once('=').unwrap();
        assert!(root().join(FOLDER).join(path).exists(), "{path}");
    }
    for (pod, path) in with_lintel(&manifests) {
        for volume in items(&pod["volumes"]).filter(|volume| volume.get("configMap").is_some()) {
            assert!(generated.contains(&text(&volume["configMap"]["name"])), "{path}: {volume}");
        }
    }
}
