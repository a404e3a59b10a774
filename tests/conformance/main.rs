//! HTTP/1.1 conformance (RFC 9110, RFC 9112): a table of raw bytes in, the expected reply, and what a server may see.
//!
//! Every case has a listener, a pool and a scripted server of its own in one running Lintel, and is played twice: with
//! its bytes sent at once, and one by one. What a table cannot say, since it needs turns, is in `turns`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../support/mod.rs"]
mod support;

mod case;
mod play;
mod table;
mod turns;

use case::Case;

/// The least number of cases; the table only grows.
const CASES: usize = 220;

#[test]
fn every_case_has_a_name_of_its_own_and_a_reason() {
    let cases = table::all();
    assert!(cases.len() >= CASES, "{} cases", cases.len());
    let mut names: Vec<&str> = cases.iter().map(|case| case.name).collect();
    names.sort_unstable();
    let repeated: Vec<&str> =
        names.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[0]).collect();
    assert!(repeated.is_empty(), "{repeated:?}");
    let is_name =
        |case: &&Case| case.name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    assert_eq!(cases.iter().filter(is_name).count(), cases.len());
    let unreasoned: Vec<&str> =
        cases.iter().filter(|case| case.why.len() < 10).map(|case| case.name).collect();
    assert!(unreasoned.is_empty(), "{unreasoned:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_case_holds_when_its_bytes_come_at_once() {
    play::all(table::all(), play::Pace::AtOnce).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_case_holds_when_its_bytes_come_one_by_one() {
    play::all(table::all(), play::Pace::OneByOne).await;
}
