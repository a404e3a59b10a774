//! The ends of processes: of the old one, of the last one, and of the keeper, which nobody is left to wait for.

use std::time::Duration;

use rustix::process::Signal;

use crate::house::{House, app, code_of, exists, signal};
use crate::support::time::stays_silent;
use crate::support::{Connection, Origin};

#[tokio::test]
async fn lintel_waits_for_its_keeper_before_it_ends() {
    let house = House::start(app(1, "", "")).await;
    house.ready(1).await;
    let keeper = house.keeper();
    signal(house.first, Signal::TERM);
    assert_eq!(code_of(house.first).await, 0);
    assert!(!exists(keeper), "a zombie is left for somebody else");
    house.nobody_is_left().await;
}

#[tokio::test]
async fn an_old_process_that_drains_ends_at_once_when_it_is_told_to() {
    let slow = Origin::scripted(|mut talk| async move {
        talk.request().await;
        talk.hang().await;
    });
    let yaml = crate::support::lintel::front(&[&slow], "") + "runtime: { drain_timeout: 5m }\n";
    let house = House::start(yaml).await;
    let mut waiting = Connection::open(house.http()).await;
    waiting.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    slow.request(0).await;
    house.upgrade().await;
    assert!(stays_silent(Duration::from_millis(500), code_of(house.first)).await, "it has a request");
    signal(house.first, Signal::TERM);
    assert_eq!(code_of(house.first).await, 0);
    house.stop().await;
}
