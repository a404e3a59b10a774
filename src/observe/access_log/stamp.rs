//! Calendar time as text, made once a second and kept in between.

use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// The text of the last second asked for. One stamp serves one format.
#[derive(Default)]
pub struct Stamp {
    second: Option<u64>,
    text: String,
}

impl Stamp {
    /// `format` of jiff's strftime, in UTC, for the second that `time` since 1970 lies in.
    pub fn of(&mut self, time: Duration, format: &str) -> &str {
        let second = time.as_secs();
        if self.second != Some(second) {
            // A clock beyond the calendar's end is as wrong as one at its beginning.
            let timestamp = i64::try_from(second).ok().and_then(|second| Timestamp::from_second(second).ok());
            let timestamp = timestamp.unwrap_or(Timestamp::UNIX_EPOCH);
            self.text = timestamp.to_zoned(TimeZone::UTC).strftime(format).to_string();
            self.second = Some(second);
        }
        &self.text
    }
}
