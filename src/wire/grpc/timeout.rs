//! The field `grpc-timeout`: how long a client waits for its call.

use std::time::Duration;

/// Digits of a value at most.
const DIGITS: usize = 8;

/// The time of a `grpc-timeout` field (gRPC's `PROTOCOL-HTTP2.md`): one to eight digits and a unit, `H` hours,
/// `M` minutes, `S` seconds, `m` milliseconds, `u` microseconds or `n` nanoseconds. Anything else is `None`.
///
/// Zero is a time too: the deadline has passed already. The longest is eleven thousand years.
pub fn parse(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if digits.is_empty() || digits.len() > DIGITS || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = digits.iter().fold(0_u64, |number, digit| number * 10 + u64::from(digit - b'0'));
    match unit {
        b'H' => Some(Duration::from_secs(number * 3600)),
        b'M' => Some(Duration::from_secs(number * 60)),
        b'S' => Some(Duration::from_secs(number)),
        b'm' => Some(Duration::from_millis(number)),
        b'u' => Some(Duration::from_micros(number)),
        b'n' => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_unit_is_understood() {
        for (value, time) in [
            ("1H", Duration::from_secs(3600)),
            ("2M", Duration::from_secs(120)),
            ("3S", Duration::from_secs(3)),
            ("300m", Duration::from_millis(300)),
            ("5u", Duration::from_micros(5)),
            ("6n", Duration::from_nanos(6)),
            ("0S", Duration::ZERO),
            ("00000001S", Duration::from_secs(1)),
            ("99999999H", Duration::from_secs(99_999_999 * 3600)),
        ] {
            assert_eq!(parse(value.as_bytes()), Some(time), "{value}");
        }
    }

    #[test]
    fn anything_else_is_none() {
        for value in [
            "",
            "H",
            "1",
            "12",
            "123456789S",
            "1h",
            "1s",
            "1N",
            "1U",
            "-1S",
            "+1S",
            "1.5S",
            " 1S",
            "1S ",
            "1 S",
            "1SS",
            "S1",
            "infinity",
        ] {
            assert_eq!(parse(value.as_bytes()), None, "{value:?}");
        }
        assert_eq!(parse(b"\xff1S"), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_time_or_none(value in proptest::collection::vec(any::<u8>(), 0..12)) {
            parse(&value);
        }

        #[test]
        fn the_number_counts(number in 0_u64..100_000_000) {
            prop_assert_eq!(parse(format!("{number}m").as_bytes()), Some(Duration::from_millis(number)));
        }
    }
}
