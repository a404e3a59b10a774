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
mod memory;
mod siege;
mod steady;

mod sieges {
    use crate::attack::Attack;
    use crate::siege::siege;

    macro_rules! sieges {
        ($($name:ident: $attack:ident;)*) => {$(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                siege(Attack::$attack).await;
            }
        )*};
    }

    sieges! {
        heads_that_drip_in_are_408_and_others_are_served: SlowHeads;
        bodies_that_stop_are_408_and_others_are_served: SlowBodies;
        bodies_that_drip_are_408_and_others_are_served: DrippingBodies;
        clients_that_read_nothing_are_cut_and_others_are_served: SlowReaders;
        handshakes_that_stop_are_ended_and_others_are_served: IdleTls;
        http2_that_asks_for_nothing_is_ended_and_others_are_served: IdleHttp2;
        connections_that_come_and_go_leave_nothing_behind: Flood;
        heads_of_too_many_fields_are_431_and_others_are_served: ManyFields;
        fields_too_large_are_431_and_others_are_served: HugeFields;
        targets_too_long_are_414_and_others_are_served: LongTargets;
        cookies_as_large_as_may_be_are_served_as_all_else: HugeCookies;
        fields_that_unpack_to_much_are_refused_and_others_are_served: HpackBombs;
        heads_in_endless_frames_are_ended_and_others_are_served: Continuations;
        requests_given_up_at_once_are_ended_and_others_are_served: RapidResets;
        connections_that_say_nothing_make_room_and_others_are_served: Silence;
    }
}
