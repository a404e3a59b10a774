//! The demo's page in a real browser, over HTTP/2: Chromium chooses the protocol, and its WebSockets are streams of it.

use std::io::Write as _;

use crate::support::Lintel;
use crate::support::node::{NodeApp, run_script};
use crate::support::tls::Authority;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_and_its_websockets_go_over_http_2() {
    let folder = tempfile::tempdir().unwrap();
    let leaf = Authority::new(folder.path(), "authority").issue(&["localhost"]);
    let app = NodeApp::start(1).await;
    let yaml = format!(
        "listeners:\n  https:\n    address: \"127.0.0.1:0\"\n    tls:\n      certificates: [{}]\npools:\n  chat: {{ servers: [\"{}\"], sticky: socket_io }}\nroutes: [{{ name: all, to: chat }}]\n",
        leaf.yaml(),
        app.address
    );
    let lintel = Lintel::start(yaml).await;
    let url = format!("https://localhost:{}/", lintel.at("https").port());
    let report = run_script("browser.mjs", &[url]).await;
    if let Some(why) = report["skipped"].as_str() {
        // Not `eprintln!`, which is not shown for tests that pass.
        let _ = writeln!(std::io::stderr(), "the page in a browser: skipped, {why}");
        return;
    }
    assert_eq!(report["protocol"], "h2", "{report}");
    assert_eq!(report["chat"], "connected to server 1 by websocket", "{report}");
    assert_eq!((&report["said"], &report["echoed"]), (&true.into(), &true.into()), "{report}");
    assert_eq!(report["complaints"], serde_json::json!([]), "{report}");

    // The page is closed, and its tunnels with it: Socket.IO's, and the one of the echo.
    for path in ["/socket.io/?", "/ws?"] {
        let is_tunnel = |record: &serde_json::Value| {
            record["tunnel"] == true
                && record["target"].as_str().is_some_and(|target| target.starts_with(path))
        };
        let record = lintel.record(is_tunnel).await;
        assert_eq!((&record["version"], &record["status"]), (&"HTTP/2.0".into(), &200.into()), "{record}");
    }
    let old = lintel.access_log.records().into_iter().find(|record| record["version"] == "HTTP/1.1");
    assert_eq!(old, None, "everything goes over HTTP/2");
    lintel.stop().await;
}
