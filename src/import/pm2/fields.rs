//! The fields of one app, handed out once each, so that what nobody asked for shows at the end; and how PM2 writes lists,
//! times, sizes and switches.

use std::collections::BTreeSet;

use regex::Regex;
use serde_json::{Map, Value};

use crate::units::{Bytes, Duration};

/// Characters of a value that a remark shows.
const SHOWN: usize = 60;

/// The fields of an object that are left.
#[derive(Debug)]
pub(super) struct Fields<'a> {
    all: &'a Map<String, Value>,
    taken: BTreeSet<&'a str>,
}

/// A field with the name it was found under.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field<'a> {
    pub name: &'a str,
    pub value: &'a Value,
}

impl<'a> Fields<'a> {
    pub fn of(all: &'a Map<String, Value>) -> Self {
        Self { all, taken: BTreeSet::new() }
    }

    /// The first of these names that has a value; all of them count as taken.
    pub fn take(&mut self, names: &[&str]) -> Option<Field<'a>> {
        let mut first = None;
        for name in names {
            let Some((name, value)) = self.all.get_key_value(*name) else { continue };
            self.taken.insert(name);
            if first.is_none() && !value.is_null() {
                first = Some(Field { name, value });
            }
        }
        first
    }

    /// What nobody took.
    pub fn left(&self) -> Vec<Field<'a>> {
        let left =
            self.all.iter().filter(|(name, value)| !self.taken.contains(name.as_str()) && !value.is_null());
        left.map(|(name, value)| Field { name, value }).collect()
    }
}

impl<'a> Field<'a> {
    /// A text or a number, as text; none where it is empty or something else.
    pub fn text(self) -> Option<String> {
        text_of(self.value).filter(|text| !text.is_empty())
    }

    /// A list of texts, or one text that is split as PM2 does it.
    pub fn words(self) -> Option<Vec<String>> {
        match self.value {
            Value::Array(items) => items.iter().map(text_of).collect(),
            Value::String(text) => Some(split(text)),
            Value::Number(number) => Some(vec![number.to_string()]),
            _ => None,
        }
    }

    /// Whether it is switched on; texts count, since YAML and JSON of users have them.
    pub fn is_on(self) -> bool {
        match self.value {
            Value::Bool(on) => *on,
            Value::Number(number) => number.as_f64() != Some(0.0),
            Value::String(text) => !matches!(text.as_str(), "" | "false" | "0"),
            Value::Array(items) => !items.is_empty(),
            _ => true,
        }
    }

    pub fn is_zero(self) -> bool {
        matches!(self.value, Value::Bool(false)) || self.text().is_some_and(|text| text.parse() == Ok(0.0))
    }

    /// A whole number, as one or as text.
    pub fn whole(self) -> Option<i64> {
        match self.value {
            Value::Number(number) => number.as_i64(),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        }
    }

    /// A time: milliseconds, or a number with `ms`, `s`, `m` or `h`. None where it is zero.
    pub fn time(self) -> Option<Duration> {
        let text = self.text()?;
        let text = text.trim();
        let (number, milliseconds) = if let Some(number) = text.strip_suffix("ms") {
            (number, 1.0)
        } else if let Some(number) = text.strip_suffix('s') {
            (number, 1000.0)
        } else if let Some(number) = text.strip_suffix('m') {
            (number, 60_000.0)
        } else if let Some(number) = text.strip_suffix('h') {
            (number, 3_600_000.0)
        } else {
            (text, 1.0)
        };
        let whole = round(number.trim().parse::<f64>().ok()? * milliseconds)?;
        (whole > 0).then(|| Duration::from_millis(whole))
    }

    /// A size: bytes, or a number with `K`, `M` or `G`, each 1024 times the one before. None where it is zero.
    pub fn size(self) -> Option<Bytes> {
        let text = self.text()?.trim().to_ascii_uppercase();
        let short = text.strip_suffix("IB").or_else(|| text.strip_suffix('B')).unwrap_or(&text);
        let (number, bytes) = match short.as_bytes().last()? {
            b'K' => (short.trim_end_matches('K'), 1024.0),
            b'M' => (short.trim_end_matches('M'), 1024.0 * 1024.0),
            b'G' => (short.trim_end_matches('G'), 1024.0 * 1024.0 * 1024.0),
            _ => (short, 1.0),
        };
        let whole = round(number.trim().parse::<f64>().ok()? * bytes)?;
        (whole > 0).then(|| format!("{whole}B").parse().ok()).flatten()
    }

    /// The field as a remark shows it. What is inside of maps may be secret and is not needed to find the place.
    pub fn shown(self) -> String {
        let value = match self.value {
            Value::Object(_) => "{...}".to_owned(),
            other => other.to_string(),
        };
        if value.chars().count() <= SHOWN {
            return format!("{} {value}", self.name);
        }
        let short: String = value.chars().take(SHOWN).collect();
        format!("{} {short}...", self.name)
    }
}

/// A text, a number or a switch, as the environment of a process would have it.
pub(super) fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        _ => None,
    }
}

/// Up to 2^53, as JavaScript has numbers.
fn round(number: f64) -> Option<u64> {
    let fits = number.is_finite() && (0.0..=9_007_199_254_740_992.0).contains(&number);
    fits.then_some(number.round() as u64)
}

/// Splits arguments the way PM2 does: at white space, quoted parts as one without their quotes, `name="a b"` with them.
fn split(text: &str) -> Vec<String> {
    let Ok(pattern) = Regex::new(r#"([\w\-]+="[^"]*")|([\w\-]+='[^']*')|"([^"]*)"|'([^']*)'|\s"#) else {
        return text.split_whitespace().map(str::to_owned).collect();
    };
    let mut words = Vec::new();
    let mut end = 0;
    for found in pattern.captures_iter(text) {
        let whole = found.get(0).map_or(end..end, |whole| whole.range());
        words.push(text.get(end..whole.start).unwrap_or(""));
        words.extend(found.iter().skip(1).flatten().map(|group| group.as_str()));
        end = whole.end;
    }
    words.push(text.get(end..).unwrap_or(""));
    words.into_iter().filter(|word| !word.trim().is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn arguments_are_split_as_pm2_does_it() {
        assert_eq!(split("run start  --port 3000"), ["run", "start", "--port", "3000"]);
        assert_eq!(split(r#"-a "b c" 'd e' f='g h'"#), ["-a", "b c", "d e", "f='g h'"]);
        assert!(split("  ").is_empty());
    }

    #[test]
    fn times_and_sizes_are_read_in_every_form() {
        let of = |value: Value| {
            let field = Field { name: "x", value: &value };
            (field.time().map(|time| time.to_string()), field.size().map(|size| size.to_string()))
        };
        assert_eq!(of(json!(1500)), (Some("1500ms".to_owned()), Some("1500B".to_owned())));
        assert_eq!(of(json!("10s")).0.unwrap(), "10s");
        assert_eq!(of(json!("1.5h")).0.unwrap(), "90m");
        assert_eq!(of(json!("300M")).1.unwrap(), "300MiB");
        assert_eq!(of(json!("1.5G")).1.unwrap(), "1536MiB");
        assert_eq!(of(json!("512mb")).1.unwrap(), "512MiB");
        for nothing in [json!(0), json!("soon"), json!([1]), json!(-1), json!("1e300"), json!("")] {
            assert_eq!(of(nothing.clone()), (None, None), "{nothing}");
        }
    }

    #[test]
    fn a_field_is_handed_out_once_under_its_first_name() {
        let object = json!({ "err": "b", "error_file": "a", "log": null, "x": { "key": "secret" } });
        let mut fields = Fields::of(object.as_object().unwrap());
        assert_eq!(fields.take(&["error_file", "error", "err"]).unwrap().value, "a");
        assert!(fields.take(&["log"]).is_none());
        assert_eq!(fields.left().iter().map(|field| field.shown()).collect::<Vec<_>>(), ["x {...}"]);
    }
}
