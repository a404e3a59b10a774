//! Names of the files of workers: which are Lintel's own, and what they are. What has another name is never touched.
//!
//! ```text
//! app-0.log                                  what worker 0 writes now
//! app-0-2026-11-22T23-37-19.986.log          put aside at that time (UTC)
//! app-0-2026-11-22T23-37-19.986.log.gz       the same, compressed
//! app-0-2026-11-22T23-37-19.986.log.gz.part  about to become that
//! ```

use std::time::Duration;

/// In UTC, and without what is not allowed in names of files elsewhere.
const STAMP: &str = "%Y-%m-%dT%H-%M-%S%.3f";
/// Characters of a stamp.
const STAMP_LENGTH: usize = 23;

/// The name of a file of one pool. Older ones are less.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Name {
    /// When it was put aside, since 1970, in whole milliseconds.
    Aside {
        stamp: Duration,
        worker: u32,
        form: Form,
    },
    Current {
        worker: u32,
    },
}

/// What an old file is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Form {
    Plain,
    Packed,
    /// Not whole, or not known to be.
    Part,
}

impl Name {
    /// Reads a name; none if Lintel would not have given it.
    pub fn parse(pool: &str, text: &str) -> Option<Self> {
        let rest = text.strip_prefix(pool)?.strip_prefix('-')?;
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (worker, rest) = rest.split_at_checked(digits)?;
        let worker = worker.parse().ok()?;
        let name = match rest.strip_prefix('-') {
            None => Self::Current { worker },
            Some(rest) => {
                let (stamp, ending) = rest.split_at_checked(STAMP_LENGTH)?;
                let form = [Form::Plain, Form::Packed, Form::Part];
                let form = form.into_iter().find(|form| form.ending() == ending)?;
                Self::Aside { stamp: parse_stamp(stamp)?, worker, form }
            }
        };
        (name.text(pool) == text).then_some(name)
    }

    pub fn text(self, pool: &str) -> String {
        match self {
            Self::Current { worker } => format!("{pool}-{worker}.log"),
            Self::Aside { stamp, worker, form } => {
                format!("{pool}-{worker}-{}{}", moment(stamp).strftime(STAMP), form.ending())
            }
        }
    }

    /// The same file in another form.
    pub fn in_form(self, form: Form) -> Self {
        match self {
            Self::Aside { stamp, worker, .. } => Self::Aside { stamp, worker, form },
            current @ Self::Current { .. } => current,
        }
    }
}

impl Form {
    fn ending(self) -> &'static str {
        match self {
            Self::Plain => ".log",
            Self::Packed => ".log.gz",
            Self::Part => ".log.gz.part",
        }
    }
}

/// A time since 1970, as the calendar has it.
pub fn moment(since_epoch: Duration) -> jiff::Timestamp {
    let milliseconds = i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX);
    jiff::Timestamp::from_millisecond(milliseconds).unwrap_or(jiff::Timestamp::MAX)
}

/// The other way round.
pub fn since_epoch(moment: jiff::Timestamp) -> Option<Duration> {
    u64::try_from(moment.as_millisecond()).ok().map(Duration::from_millis)
}

fn parse_stamp(text: &str) -> Option<Duration> {
    let moment = jiff::civil::DateTime::strptime(STAMP, text).ok()?;
    since_epoch(moment.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for (text, name) in [
            ("api-0.log", Name::Current { worker: 0 }),
            ("api-17.log", Name::Current { worker: 17 }),
            ("api-0-2026-11-22T23-37-19.986.log", aside(Form::Plain)),
            ("api-0-2026-11-22T23-37-19.986.log.gz", aside(Form::Packed)),
            ("api-0-2026-11-22T23-37-19.986.log.gz.part", aside(Form::Part)),
        ] {
            assert_eq!(Name::parse("api", text), Some(name));
            assert_eq!(name.text("api"), text);
        }
    }

    fn aside(form: Form) -> Name {
        Name::Aside { stamp: Duration::from_millis(1_795_390_639_986), worker: 0, form }
    }

    #[test]
    fn what_others_wrote_is_not_taken_for_ours() {
        for text in [
            "api.log",
            "api-.log",
            "api-0.log.1",
            "api-0.log.gz",
            "api-0.txt",
            "api-00.log",
            "api-+1.log",
            "api-99999999999.log",
            "api-b-0.log",
            "api-0-2026-11-22T23-37-19.986.gz",
            "api-0-2026-11-22T23-37-19.log",
            "api-0-2026-13-22T23-37-19.986.log",
            "api-0-2026-11-22T23-37-19.986.log.bak",
            "api-0-1.log",
            "web-0.log",
            "x-api-0.log",
            "",
        ] {
            assert_eq!(Name::parse("api", text), None, "{text}");
        }
        // A pool whose name begins with that of another.
        assert_eq!(Name::parse("api-0", "api-0-1.log"), Some(Name::Current { worker: 1 }));
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text in "api-[0-9éT.:log-]{0,40}") {
            if let Some(name) = Name::parse("api", &text) {
                prop_assert_eq!(name.text("api"), text);
            }
        }

        #[test]
        fn any_stamp_survives(milliseconds in 0..4_102_444_800_000u64, worker in 0..2000u32) {
            let name = Name::Aside { stamp: Duration::from_millis(milliseconds), worker, form: Form::Packed };
            prop_assert_eq!(Name::parse("a", &name.text("a")), Some(name));
        }
    }
}
