//! Differential test against smuggling: mutated requests through Lintel to real servers, which write down what they saw.
//!
//! Four accounts of the same bytes must agree: a strict reader's, Lintel's access log, the server's, and the client's
//! answers. Cases come from a seed and a number, so each can be played again: `scripts/smuggle --help`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../support/mod.rs"]
mod support;

mod answers;
mod chunks;
mod generator;
mod mutation;
mod play;
mod reading;
mod servers;
mod verdict;

use servers::Kind;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_sees_the_requests_that_lintel_forwarded_and_no_others() {
    play::against(Kind::Node).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_forgives_sees_the_requests_that_lintel_forwarded_and_no_others() {
    play::against(Kind::LenientNode).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nginx_sees_the_requests_that_lintel_forwarded_and_no_others() {
    play::against(Kind::Nginx).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn python_sees_the_requests_that_lintel_forwarded_and_no_others() {
    play::against(Kind::Python).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_gets_the_answers_to_the_requests_that_it_sent_whatever_a_server_answers() {
    answers::mutated().await;
}
