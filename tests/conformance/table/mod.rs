//! The table itself, a file per part of the message.

mod chunks;
mod codings;
mod connection;
mod fields;
mod forwarding;
mod host;
mod lengths;
mod request_line;
mod response_body;
mod response_head;

use crate::case::Case;

/// Every case.
pub fn all() -> Vec<Case> {
    let parts = [
        request_line::cases(),
        fields::cases(),
        host::cases(),
        lengths::cases(),
        codings::cases(),
        chunks::cases(),
        connection::cases(),
        forwarding::cases(),
        response_head::cases(),
        response_body::cases(),
    ];
    parts.into_iter().flatten().collect()
}
