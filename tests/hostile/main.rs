//! Clients that want Lintel to have no time, memory or descriptors left for others: slow ones, greedy ones, many at once.
//!
//! Each attack has a test: a normal client beside it is served without one failure, the attackers are ended by the limit
//! that docs/limits.md names and with its reply, and memory and descriptors come back. Small here; with `HOSTILE=FILE` in
//! the environment (scripts/hostile) large, with the documented defaults, and with figures.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../support/mod.rs"]
mod support;

mod attack;
mod front;
mod gauge;
mod http2;
mod siege;
mod steady;

use attack::Attack;
use siege::siege;

macro_rules! sieges {
    ($($name:ident: $attack:expr;)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            siege($attack).await;
        }
    )*};
}

sieges! {
    heads_that_drip_in_are_408_and_others_are_served: Attack::SlowHeads;
    bodies_that_stop_are_408_and_others_are_served: Attack::SlowBodies;
    clients_that_read_nothing_are_cut_and_others_are_served: Attack::SlowReaders;
    handshakes_that_stop_are_ended_and_others_are_served: Attack::IdleTls;
    http2_that_asks_for_nothing_is_ended_and_others_are_served: Attack::IdleHttp2;
    connections_that_come_and_go_leave_nothing_behind: Attack::Flood;
    heads_of_too_many_fields_are_431_and_others_are_served: Attack::ManyFields;
    fields_too_large_are_431_and_others_are_served: Attack::HugeFields;
    targets_too_long_are_414_and_others_are_served: Attack::LongTargets;
    cookies_as_large_as_may_be_are_served_as_all_else: Attack::HugeCookies;
    fields_that_unpack_to_much_are_refused_and_others_are_served: Attack::HpackBombs;
    heads_in_endless_frames_are_ended_and_others_are_served: Attack::Continuations;
    requests_given_up_at_once_are_ended_and_others_are_served: Attack::RapidResets;
    connections_that_say_nothing_make_room_and_others_are_served: Attack::Silence;
}
