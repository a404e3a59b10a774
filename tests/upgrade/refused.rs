//! Upgrades that come to nothing: the old process goes on, its workers with it, and says why.

use rustix::process::Signal;

use crate::house::{House, app, code_of, signal};
use crate::load::{Load, all_whole};
use crate::support::lintel::field_of;
use crate::support::{Origin, eventually};

/// Nothing has changed: the same workers, the same process, and it can be upgraded.
async fn goes_on(house: &House, workers: &std::collections::BTreeSet<u32>) {
    assert_eq!(house.ready(workers.len()).await, *workers);
    assert_eq!(house.serving(), house.first);
    let new = house.upgrade().await;
    assert_eq!(code_of(house.first).await, 0);
    assert_eq!(house.ready(workers.len()).await, *workers);
    // The next one is as able as this.
    assert_eq!(house.run(&["rollout", "app"]).await.code, Some(0));
    assert!(house.serving() == new);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_that_cannot_start_changes_nothing() {
    let house = House::start(app(2, "", "")).await;
    let workers = house.ready(2).await;
    let load = Load::both(house.http(), 100);
    house.replace_program("#!/bin/sh\nexit 1\n");
    let said = house.refused().await;
    assert!(said.contains("the new process did not start: it ended") && said.contains("exit status: 1"), "{said}");
    house.replace_program("#!/bin/sh\nexec 0<&-\nexec sleep 1000\n");
    let said = house.refused().await;
    assert!(said.contains("did not start"), "{said}");
    house.replace_program("no program at all");
    let said = house.refused().await;
    assert!(said.contains("cannot be started"), "{said}");
    std::fs::remove_file(house.path().join("lintel")).unwrap();
    let said = house.refused().await;
    assert!(said.contains("cannot be started"), "{said}");
    signal(house.first, Signal::USR2);
    house.said_again("no upgrade", 4).await;
    house.restore_program();
    goes_on(&house, &workers).await;
    all_whole(load).await;
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_config_with_problems_changes_nothing_and_all_problems_are_said() {
    let yaml = app(2, "", "");
    let house = House::start(&*yaml).await;
    let workers = house.ready(2).await;
    let load = Load::both(house.http(), 100);
    house.rewrite(&(yaml.clone() + "runtime: { drain_timeout: 5 parsecs, wacth: true }\n"));
    // Of the command, which reads the file too, and of the process.
    let (said, told) = (house.refused().await, house.control("POST", "/upgrade").await.text());
    assert!(said.contains("parsecs") && said.contains("wacth"), "{said}");
    assert!(told.contains("the config has problems") && told.contains("parsecs") && told.contains("wacth"), "{told}");
    // One that only shows while the plan is built.
    house.rewrite(&yaml.replace(
        "address: \"127.0.0.1:0\" }",
        "address: \"127.0.0.1:0\", tls: { certificates: [{ cert: none.crt, key: none.key }] } }",
    ));
    let said = house.refused().await;
    assert!(said.contains("none.crt"), "{said}");
    // What the log has of it is the new process's word.
    house.said("no upgrade").await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    house.rewrite(&yaml.replace("pools:\n", &format!("  more: {{ address: \"{address}\" }}\npools:\n")));
    let said = house.refused().await;
    assert!(said.contains("listener more cannot listen") && said.contains(&address.port().to_string()), "{said}");
    house.rewrite(&yaml);
    goes_on(&house, &workers).await;
    all_whole(load).await;
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_a_rollout_is_under_way_it_is_refused() {
    let house = House::start(app(2, "", "")).await;
    house.ready(2).await;
    std::fs::write(house.path().join("app/boot-ms"), "1500").unwrap();
    let rolling = house.run(&["rollout", "app"]);
    let refused = async {
        house.said("a rollout begins").await;
        house.refused().await
    };
    let (rolled, said) = tokio::join!(rolling, refused);
    assert!(said.contains("a rollout of app is under way"), "{said}");
    assert_eq!(rolled.code, Some(0), "{rolled:?}");
    std::fs::remove_file(house.path().join("app/boot-ms")).unwrap();
    let workers = house.ready(2).await;
    goes_on(&house, &workers).await;
    house.stop().await;
}

/// It holds the workers already when it is killed: the keeper gives them back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_process_that_dies_with_the_workers_in_its_hands_gives_them_back() {
    let silent = Origin::scripted(|mut talk| async move { talk.hang().await });
    let yaml = app(2, "", "health_check: { path: /, interval: 1s, timeout: 1s }");
    let house = House::start(&*yaml).await;
    let workers = house.ready(2).await;
    let load = Load::both(house.http(), 100);
    load[0].goes_on(20).await;
    // Its first round of checks takes as long as this server does not answer.
    house.rewrite(&yaml.replace(
        "pools:\n",
        &format!("pools:\n  silent: {{ servers: [\"{}\"], health_check: {{ path: /, timeout: 20s, interval: 30s }} }}\n", silent.address()),
    ));
    for round in 0..2 {
        let upgrading = house.run(&["upgrade"]);
        let killing = async {
            // The old process says so too, when it has them again.
            house.said_again("took over the workers", 2 * round).await;
            let begun = house.logged("upgrading").pop().unwrap();
            signal(field_of(&begun, "pid").as_u64().unwrap() as u32, Signal::KILL);
        };
        let (said, ()) = tokio::join!(upgrading, killing);
        assert_eq!(said.code, Some(1), "{said:?}");
        assert!(said.stderr.contains("it ended") && said.stderr.contains("signal: 9"), "{said:?}");
        assert_eq!(house.ready(2).await, workers, "the workers are the same");
    }
    load[0].goes_on(20).await;
    house.rewrite(&yaml);
    goes_on(&house, &workers).await;
    all_whole(load).await;
    house.stop().await;
}

/// Without the old process there is nobody to hand anything over; what has it goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_process_that_dies_at_once_takes_nothing_with_it() {
    let house = House::start(app(2, "", "") + "runtime: { drain_timeout: 1m }\n").await;
    let workers = house.ready(2).await;
    house.upgrade().await;
    signal(house.first, Signal::KILL);
    assert_eq!(code_of(house.first).await, -9);
    assert_eq!(house.ready(2).await, workers);
    let load = Load::both(house.http(), 50);
    load[0].goes_on(20).await;
    all_whole(load).await;
    house.stop().await;
}

/// A new process that never says a word.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn told_to_end_while_a_new_process_hangs_it_ends_in_order() {
    let house = House::start(app(2, "", "")).await;
    house.ready(2).await;
    house.replace_program("#!/bin/sh\nexec sleep 1000\n");
    let upgrading = house.run(&["upgrade"]);
    let ending = async {
        let begun = house.said("upgrading").await;
        signal(house.first, Signal::TERM);
        field_of(&begun, "pid").as_u64().unwrap() as u32
    };
    let (said, hanging) = tokio::join!(upgrading, ending);
    assert_eq!(said.code, Some(1));
    assert!(said.stderr.contains("told to end"), "{said:?}");
    assert_eq!(code_of(house.first).await, 0);
    assert!(!crate::house::exists(hanging), "the new process is ended as well");
    house.nobody_is_left().await;
}

/// As before, but the workers have changed hands: both processes end in order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn told_to_end_when_the_workers_have_changed_hands_both_end_in_order() {
    let silent = Origin::scripted(|mut talk| async move { talk.hang().await });
    let yaml = app(2, "", "") + "runtime: { drain_timeout: 2s }\n";
    let house = House::start(&*yaml).await;
    house.ready(2).await;
    house.rewrite(&yaml.replace(
        "pools:\n",
        &format!("pools:\n  silent: {{ servers: [\"{}\"], health_check: {{ path: /, timeout: 20s, interval: 30s }} }}\n", silent.address()),
    ));
    signal(house.first, Signal::USR2);
    house.said("took over the workers").await;
    let begun = house.logged("upgrading").pop().unwrap();
    signal(house.first, Signal::TERM);
    assert_eq!(code_of(house.first).await, 0);
    assert_eq!(code_of(field_of(&begun, "pid").as_u64().unwrap() as u32).await, 0);
    house.nobody_is_left().await;
    assert!(house.logged("stopped").len() >= 2, "workers are stopped and not killed:\n{}", house.log.text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_that_is_asked_for_meanwhile_is_not_forgotten() {
    let house = House::start(app(2, "", "")).await;
    house.ready(2).await;
    house.replace_program("#!/bin/sh\nexec sleep 1000\n");
    signal(house.first, Signal::USR2);
    let begun = house.said("upgrading").await;
    signal(house.first, Signal::HUP);
    signal(house.first, Signal::USR2);
    house.said("an upgrade is under way").await;
    signal(field_of(&begun, "pid").as_u64().unwrap() as u32, Signal::KILL);
    house.said("no upgrade").await;
    house.said("the new config is in force").await;
    house.restore_program();
    eventually("it can be upgraded", async || {
        (house.run(&["upgrade"]).await.code == Some(0)).then_some(())
    })
    .await;
    house.stop().await;
}
