//! A config that changes together with the program: what is new is there, what is gone ends in order.

use std::os::unix::fs::FileTypeExt;

use rustix::process::Signal;
use tokio::net::{TcpStream, UnixStream};

use crate::house::{House, app, code_of, signal};
use crate::load::{Load, Mode, Rate, all_whole};
use crate::support::lintel::front;
use crate::support::{Connection, Origin, eventually, get};

/// Exchanges the config and the process. The signal is heard wherever the control interface is.
async fn changed(house: &House, yaml: &str) {
    let old = house.serving();
    house.rewrite(yaml);
    signal(old, Signal::USR2);
    house.successor_of(old).await;
    assert_eq!(code_of(old).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn listeners_come_and_go() {
    let origin = Origin::named("one");
    let base = front(&[&origin], "");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gone.sock");
    let more = base.replace(
        "pools:\n",
        &format!(
            "  gone: {{ address: \"127.0.0.2:0\" }}\n  unix: {{ address: \"unix:{}\" }}\npools:\n",
            path.display()
        ),
    );
    let house = House::start(&*more).await;
    let (stays, gone) = (house.http(), house.at("gone"));
    let load = Load::both(stays, 100);
    // Whoever is on a listener that goes away is served to the end.
    let leaving = Load::start(gone, Rate::gets(Mode::KeepAlive, 50));
    let over_unix = async || {
        let mut connection = Connection::over(UnixStream::connect(&path).await.unwrap());
        connection.get("/").await.text()
    };
    assert_eq!(over_unix().await, "one");
    changed(&house, &more).await;
    assert_eq!(over_unix().await, "one");
    assert!(path.metadata().unwrap().file_type().is_socket());
    leaving.goes_on(20).await;
    all_whole([leaving]).await;

    let second = base.replace("pools:\n", "  second: { address: \"127.0.0.3:0\" }\npools:\n");
    changed(&house, &second).await;
    assert_eq!(house.http(), stays);
    assert_eq!(get(house.at("second"), "/").await.text(), "one");
    eventually("nobody listens there", async || TcpStream::connect(gone).await.is_err().then_some(())).await;
    eventually("the file of a unix socket goes with its listener", async || (!path.exists()).then_some(()))
        .await;
    all_whole(load).await;
    house.stop().await;
}

/// A listener of another name has the address now, and one has another address.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_goes_over_to_another_listener() {
    let origin = Origin::named("one");
    let port = crate::support::port::Port::reserve();
    let base = front(&[&origin], "").replace("127.0.0.1:0", &port.address().to_string());
    let house = House::start(&*base).await;
    let address = house.http();
    let load = Load::both(address, 100);
    let renamed = base.replace("  http:\n", "  front:\n");
    changed(&house, &renamed).await;
    let third = base
        .replace("  http:\n", "  other:\n")
        .replace(&port.address().to_string(), "127.0.0.1:0")
        .replace("pools:\n", &format!("  http: {{ address: \"{}\" }}\npools:\n", port.address()));
    changed(&house, &third).await;
    assert_eq!(get(house.at("other"), "/").await.text(), "one");
    assert_eq!(house.http(), address);
    all_whole(load).await;
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_settings_of_an_app_count_after_it() {
    let yaml = app(2, "", "");
    let house = House::start(&*yaml).await;
    let before = house.ready(2).await;
    let load = Load::both(house.http(), 60);
    // What says nothing about how a worker is started leaves them alone.
    changed(
        &house,
        &(yaml.replace("      instances: 2\n", "      instances: 2\n      rollout: { surge: 2 }\n")),
    )
    .await;
    assert_eq!(house.ready(2).await, before);
    changed(&house, &app(3, "", "")).await;
    let more = house.ready(3).await;
    assert!(more.is_superset(&before), "{before:?} {more:?}");
    changed(&house, &app(2, "env: { COLOUR: blue }", "")).await;
    let rolled = eventually("all are replaced", async || {
        let pids = house.ready(2).await;
        pids.is_disjoint(&more).then_some(pids)
    })
    .await;
    let environment = get(house.http(), "/env").await.text();
    assert!(environment.contains("\"COLOUR\":\"blue\""), "{environment}");
    // Pool settings change under the workers' feet.
    changed(&house, &app(2, "env: { COLOUR: blue }", "balance: round_robin\nmax_in_flight: 50")).await;
    assert_eq!(house.ready(2).await, rolled);
    all_whole(load).await;
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_app_that_is_gone_ends_and_one_that_is_new_starts() {
    let origin = Origin::named("one");
    let yaml = app(2, "", "");
    let house = House::start(&*yaml).await;
    let workers = house.ready(2).await;
    changed(&house, &front(&[&origin], "")).await;
    eventually("the workers end", async || {
        workers.iter().all(|pid| !crate::house::exists(*pid)).then_some(())
    })
    .await;
    assert_eq!(get(house.http(), "/").await.text(), "one");
    let sockets = || {
        let files = std::fs::read_dir(house.path().join("run/workers")).into_iter().flatten().flatten();
        files.filter(|file| file.file_name().to_string_lossy().starts_with("app-")).count()
    };
    changed(&house, &yaml).await;
    let new = house.ready(2).await;
    assert!(new.is_disjoint(&workers));
    assert_eq!(sockets(), 2);
    house.stop().await;
}

/// The control interface moves: it is asked at the new place, and the file of the old one goes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_control_interface_goes_where_the_file_says() {
    let origin = Origin::named("one");
    let base = front(&[&origin], "");
    let house = House::start(&*base).await;
    let at = |name: &str| house.path().join(name);
    assert!(at("run/admin.sock").exists());
    let moved = format!("{base}admin: {{ address: \"unix:{}\" }}\n", at("other.sock").display());
    changed(&house, &moved).await;
    assert!(at("other.sock").exists() && !at("run/admin.sock").exists());
    assert_eq!(house.run(&["status"]).await.code, Some(0));
    changed(&house, &base).await;
    assert!(at("run/admin.sock").exists() && !at("other.sock").exists());
    house.stop().await;
}
