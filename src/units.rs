//! Quantities as a user writes them: `5s`, `10MiB`, `20%`.
//!
//! Each type parses itself, refuses a number without a unit, and prints itself in the form it accepts.
//! It holds no policy: whether a value makes sense for a key is decided where the key lives.

pub mod form;

use std::borrow::Cow;
use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A length of time with its unit: `250ms`, `5s`, `2m`, `1h`, `7d`. Never zero.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duration(std::time::Duration);

/// A number of bytes with its unit: `512B`, `32KiB`, `10MiB`, `1GiB` (powers of 1024) or `10kB`, `5MB` (powers of 1000).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bytes(u64);

/// Bytes per second with their unit: `240B/s`, `16KiB/s`. Never zero.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteRate(NonZeroU64);

/// A share of a whole, `0%` to `100%`, whole percents.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Percent(u8);

/// Why a text is not a quantity; the message says what would be one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ParseQuantityError(String);

impl Duration {
    pub const fn from_secs(seconds: u64) -> Self {
        Self(std::time::Duration::from_secs(seconds))
    }
    pub const fn from_millis(milliseconds: u64) -> Self {
        Self(std::time::Duration::from_millis(milliseconds))
    }
    /// The same length as the standard library's type.
    pub const fn std(self) -> std::time::Duration {
        self.0
    }
}

impl Bytes {
    pub const fn from_kib(kibibytes: u64) -> Self {
        Self(kibibytes * 1024)
    }
    pub const fn from_mib(mebibytes: u64) -> Self {
        Self(mebibytes * 1024 * 1024)
    }
    pub const fn count(self) -> u64 {
        self.0
    }
    /// The count for sizes of things in memory.
    pub fn size(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl ByteRate {
    pub const fn from_bytes(per_second: NonZeroU64) -> Self {
        Self(per_second)
    }
    /// Bytes per second.
    pub const fn per_second(self) -> NonZeroU64 {
        self.0
    }
}

impl Percent {
    pub const fn new(percent: u8) -> Self {
        assert!(percent <= 100);
        Self(percent)
    }
    pub const fn percent(self) -> u8 {
        self.0
    }
    /// `0.0` to `1.0`.
    pub fn fraction(self) -> f64 {
        f64::from(self.0) / 100.0
    }
}

const DURATION_UNITS: [(&str, u64); 5] =
    [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
const BYTE_UNITS: [(&str, u64); 7] = [
    ("B", 1),
    ("kB", 1000),
    ("KiB", 1 << 10),
    ("MB", 1_000_000),
    ("MiB", 1 << 20),
    ("GB", 1_000_000_000),
    ("GiB", 1 << 30),
];

impl FromStr for Duration {
    type Err = ParseQuantityError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wanted = "a time with its unit, such as 250ms, 5s, 2m, 1h or 7d";
        let milliseconds = parse_with_unit(text, &DURATION_UNITS, wanted)?;
        if milliseconds == 0 {
            return Err(ParseQuantityError(format!("`{text}` is no time at all; write more than 0")));
        }
        Ok(Self::from_millis(milliseconds))
    }
}

impl FromStr for Bytes {
    type Err = ParseQuantityError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse_with_unit(text, &BYTE_UNITS, "a size with its unit, such as 512B, 32KiB, 10MiB or 1GiB")
            .map(Self)
    }
}

impl FromStr for ByteRate {
    type Err = ParseQuantityError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wanted = "bytes per second, such as 240B/s or 16KiB/s";
        let wrong = || ParseQuantityError(format!("`{text}` is no speed; write {wanted}"));
        let bytes = parse_with_unit(text.strip_suffix("/s").ok_or_else(wrong)?, &BYTE_UNITS, wanted)?;
        NonZeroU64::new(bytes).map(Self).ok_or_else(wrong)
    }
}

impl FromStr for Percent {
    type Err = ParseQuantityError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || ParseQuantityError(format!("`{text}` is not a share from 0% to 100%, such as 20%"));
        let number = text.strip_suffix('%').ok_or_else(wrong)?;
        match number.parse::<u8>() {
            Ok(percent) if percent <= 100 => Ok(Self(percent)),
            _ => Err(wrong()),
        }
    }
}

fn parse_with_unit(text: &str, units: &[(&str, u64)], wanted: &str) -> Result<u64, ParseQuantityError> {
    let wrong = |why: &str| ParseQuantityError(format!("`{text}` {why}; write {wanted}"));
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    if number.is_empty() {
        return Err(wrong("does not start with a whole number"));
    }
    if unit.is_empty() {
        return Err(wrong("has no unit"));
    }
    let Some((_, factor)) = units.iter().find(|(name, _)| *name == unit) else {
        return Err(wrong("has an unknown unit"));
    };
    let number: u64 = number.parse().map_err(|_| wrong("is too large"))?;
    number.checked_mul(*factor).filter(|n| *n <= i64::MAX as u64).ok_or_else(|| wrong("is too large"))
}

fn write_with_unit(f: &mut fmt::Formatter<'_>, count: u64, units: &[(&str, u64)]) -> fmt::Result {
    let exact = units.iter().rev().find(|(_, factor)| count != 0 && count.is_multiple_of(*factor));
    let (unit, factor) = exact.unwrap_or(&units[0]);
    write!(f, "{}{unit}", count / factor)
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_with_unit(f, u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX), &DURATION_UNITS)
    }
}
impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_with_unit(f, self.0, &BYTE_UNITS)
    }
}
impl fmt::Display for ByteRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_with_unit(f, self.0.get(), &BYTE_UNITS)?;
        f.write_str("/s")
    }
}
impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.0)
    }
}

macro_rules! quantity {
    ($type:ty, $name:literal, $pattern:literal, $description:literal) => {
        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Text;
                impl serde::de::Visitor<'_> for Text {
                    type Value = $type;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($description)
                    }
                    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<$type, E> {
                        text.parse().map_err(E::custom)
                    }
                    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<$type, E> {
                        self.visit_str(&number.to_string())
                    }
                }
                deserializer.deserialize_any(Text)
            }
        }
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }
            fn schema_name() -> Cow<'static, str> {
                $name.into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "pattern": $pattern, "description": $description })
            }
        }
    };
}

quantity!(
    Duration,
    "Duration",
    "^[0-9]+(ms|s|m|h|d)$",
    "a time with its unit, such as 250ms, 5s, 2m, 1h or 7d"
);
quantity!(
    Bytes,
    "Bytes",
    "^[0-9]+(B|kB|KiB|MB|MiB|GB|GiB)$",
    "a size with its unit, such as 512B, 32KiB, 10MiB or 1GiB"
);
quantity!(
    ByteRate,
    "ByteRate",
    "^[0-9]+(B|kB|KiB|MB|MiB|GB|GiB)/s$",
    "bytes per second, such as 240B/s or 16KiB/s"
);
quantity!(Percent, "Percent", "^([0-9]|[1-9][0-9]|100)%$", "a share from 0% to 100%, such as 20%");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_print_as_they_parse() {
        for text in ["250ms", "5s", "90s", "2m", "1h", "7d"] {
            let duration: Duration = text.parse().unwrap();
            assert_eq!(duration.to_string().parse::<Duration>().unwrap(), duration, "{text}");
        }
        for text in ["0B", "512B", "32KiB", "10MiB", "1GiB", "10kB"] {
            let bytes: Bytes = text.parse().unwrap();
            assert_eq!(bytes.to_string().parse::<Bytes>().unwrap(), bytes, "{text}");
        }
        for text in ["240B/s", "16KiB/s", "1MB/s"] {
            assert_eq!(text.parse::<ByteRate>().unwrap().to_string(), text);
        }
        assert_eq!("20%".parse::<Percent>().unwrap().to_string(), "20%");
    }

    #[test]
    fn a_quantity_without_a_known_unit_is_refused_with_an_example() {
        for text in ["5", "s", "2 parsecs", "0s", "-1s", "99999999999999999999s", ""] {
            assert!(text.parse::<Duration>().is_err(), "{text}");
        }
        assert_eq!(
            "5".parse::<Duration>().unwrap_err().to_string(),
            "`5` has no unit; write a time with its unit, such as 250ms, 5s, 2m, 1h or 7d"
        );
        for text in ["240", "240B", "0B/s", "B/s", "240/s", "240B/h", "1B/s/s", ""] {
            assert!(text.parse::<ByteRate>().is_err(), "{text}");
        }
        assert_eq!(
            "240B".parse::<ByteRate>().unwrap_err().to_string(),
            "`240B` is no speed; write bytes per second, such as 240B/s or 16KiB/s"
        );
        assert!("101%".parse::<Percent>().is_err());
        assert!("10mb".parse::<Bytes>().is_err());
    }
}
