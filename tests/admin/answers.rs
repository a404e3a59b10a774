//! What there is to see and to change, and what is said of what is wrong.

use crate::place::{Ask, Place, error};
use crate::support::eventually;

#[tokio::test]
async fn everything_that_runs_can_be_looked_at() {
    let place = Place::new().await;
    let pools = place.json("GET", "/pools").await;
    let names: Vec<&str> =
        pools["pools"].as_array().unwrap().iter().map(|p| p["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["spare", "web"]);
    let web = place.json("GET", "/pools/web").await;
    assert_eq!(web["servers"].as_array().unwrap().len(), 2);
    assert_eq!(web["servers"][0]["state"], "up");
    assert!(web["app"].is_null());

    let listeners = place.json("GET", "/listeners").await;
    assert_eq!(listeners["listeners"][0]["name"], "http");
    assert_eq!(listeners["listeners"][1]["tls"], true);
    let open = tokio::net::TcpStream::connect(place.lintel.http()).await.unwrap();
    eventually("the connection is counted", async || {
        let listeners = place.json("GET", "/listeners").await;
        (listeners["listeners"][0]["connections"] == 1).then_some(())
    })
    .await;
    drop(open);

    let routes = place.json("GET", "/routes").await;
    let actions: Vec<&str> =
        routes["routes"].as_array().unwrap().iter().map(|r| r["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["forward", "forward", "respond", "redirect"]);
    assert_eq!(routes["routes"][0]["pools"], serde_json::json!(["web"]));
    assert_eq!(routes["routes"][1]["match"]["host"], serde_json::json!(["spare.test"]));

    let certificates = place.json("GET", "/certificates").await;
    let first = &certificates["certificates"][0];
    assert_eq!((&first["listener"], &first["name"]), (&"https".into(), &"gate.test".into()));
    assert!(first["not_after_s"].as_i64().unwrap() > 1_700_000_000);
    assert!(first["not_after"].as_str().unwrap().ends_with('Z'));

    let config = place.json("GET", "/config").await;
    assert!(!config["config"]["pools"]["web"]["balance"].is_null());
    assert_eq!(place.json("GET", "/plan").await["changes"], serde_json::json!([]));
    assert_eq!(place.json("GET", "/status").await["pools"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_server_comes_is_weighed_drained_and_goes() {
    let place = Place::new().await;
    let path = "/pools/web/servers/192.0.2.9%3A9";
    let servers = place.json("POST", "/pools/web/servers?address=192.0.2.9:9&weight=2").await;
    assert_eq!(servers["servers"][2]["name"], "192.0.2.9:9");
    assert_eq!(servers["servers"][2]["weight"], 2);
    let servers = place.json("POST", &format!("{path}/weight?weight=7")).await;
    assert_eq!(servers["servers"][2]["weight"], 7);
    assert_eq!(place.json("POST", &format!("{path}/drain?timeout=1s&keep=0")).await["state"], "draining");
    assert_eq!(place.json("POST", &format!("{path}/undrain")).await["state"], "up");
    let servers = place.json("DELETE", path).await;
    assert_eq!(servers["servers"].as_array().unwrap().len(), 2);
    assert_eq!(place.json("POST", "/pools/web/pause?timeout=10m").await["paused_s"], 600.0);
    assert_eq!(place.json("POST", "/pools/web/resume").await["let_go"], 0);
    let reloaded = place.json("POST", "/reload").await;
    assert_eq!(reloaded["needs_restart"], serde_json::json!([]));
    for (method, target, status) in [
        ("DELETE", path, 404),
        ("POST", "/pools/web/servers?address=app.internal:80", 409),
        ("POST", "/pools/web/rollout", 404),
        ("POST", "/pools/web/scale?instances=2", 404),
        ("GET", "/pools/web/logs", 404),
        ("GET", "/pools/none", 404),
        ("GET", "/pools/none/logs", 404),
        ("POST", "/pools/none/pause", 404),
    ] {
        let answer = place.ask(&Ask::new(method, target)).await;
        assert_eq!(answer.status(), status, "{method} {target}: {}", answer.text());
        assert!(!error(&answer).is_empty());
    }
}

#[tokio::test]
async fn what_is_wrong_is_told_and_never_the_fault_of_lintel() {
    let place = Place::new().await;
    let long = format!("/pools/{}", "x".repeat(3000));
    for (method, target, status, says) in [
        ("GET", "/", 404, "/openapi.json"),
        ("GET", "//status", 404, "nothing"),
        ("GET", "/status/", 404, "nothing"),
        ("GET", "/pools//logs", 404, "nothing"),
        ("POST", "/status", 405, "only GET, HEAD"),
        ("GET", "/reload", 405, "only POST"),
        ("PUT", "/pools/web/servers/x", 405, "only DELETE"),
        ("BREW", "/reload", 405, "only POST"),
        ("OPTIONS", "/status", 405, "only GET, HEAD"),
        ("TRACE", "/livez", 405, "only GET, HEAD"),
        ("GET", "/status?x=1", 400, "no parameter `x` here"),
        ("GET", "/livez?verbose", 400, "no parameter `verbose` here"),
        ("GET", "/pools/web/logs?lines=1&lines=2", 400, "twice"),
        ("GET", "/pools/web/logs?lines=-1", 400, "whole number from 0 to 10000"),
        ("GET", "/pools/web/logs?lines=99999999999999999999", 400, "whole number"),
        ("GET", "/pools/%zz", 400, "hexadecimal"),
        ("GET", "/pools/%ff", 400, "UTF-8"),
        ("GET", "/pools/%00", 404, "no pool `\\0`"),
        ("GET", long.as_str(), 404, "no pool `xxx"),
        ("POST", "/pools/web/pause?timeout=1h", 400, "from 1s to 10m"),
        ("POST", "/pools/web/servers/x/drain?timeout=9999999999999999999d", 400, "from 1ms to 1d"),
        ("POST", "/pools/web/servers", 400, "`address` is missing"),
        ("POST", "/pools/web/servers?address=1.2.3.4:1&weight=0", 400, "from 1 to 1000"),
    ] {
        let answer = place.ask(&Ask::new(method, target)).await;
        assert_eq!(answer.status(), status, "{method} {target}: {}", answer.text());
        assert!(error(&answer).contains(says), "{method} {target}: {}", answer.text());
        assert_eq!(answer.field("allow").is_some(), status == 405);
    }
    for (method, target) in [("POST", "/reload"), ("GET", "/status"), ("DELETE", "/pools/web/servers/x")] {
        let answer = place.ask(&Ask { body: "{}", ..Ask::new(method, target) }).await;
        assert_eq!((answer.status(), error(&answer).contains("no body")), (413, true), "{method} {target}");
    }
    let chunked = Ask { body: "", ..Ask::new("POST", "/reload").with("Transfer-Encoding", "chunked") };
    let answer = place.ask(&chunked).await;
    assert_eq!(answer.status(), 413);
    let head = place.ask(&Ask::new("HEAD", "/status")).await;
    assert_eq!((head.status(), head.body.len()), (200, 0));
}

#[tokio::test]
async fn a_config_with_problems_is_told_in_full_and_changes_nothing() {
    let place = Place::new().await;
    place.lintel.rewrite(&place.yaml.replace("to: web", "to: nowhere"));
    for (method, target) in [("POST", "/reload"), ("GET", "/plan")] {
        let answer = place.ask(&Ask::new(method, target)).await;
        assert_eq!(answer.status(), 422, "{}", answer.text());
        let problems = crate::place::value(&answer)["problems"].clone();
        let names = |problem: &&serde_json::Value| problem["message"].as_str().unwrap().contains("nowhere");
        let problem = problems.as_array().unwrap().iter().find(names).expect("the pool that is not there");
        assert!(problem["line"].as_u64().unwrap() > 1);
    }
    assert_eq!(place.json("GET", "/pools/web").await["servers"].as_array().unwrap().len(), 2);
}
