//! What a user writes in the list `routes`.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

use crate::units::form;

/// A match and what happens to the requests it takes. Exactly one of `to`, `redirect` and `respond` is written.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// Name in logs and metrics. Default: `route-N` by its place in the list, counted from 1.
    #[serde(default)]
    pub name: Option<String>,
    /// Requests it takes. All unless written.
    #[serde(default, rename = "match")]
    pub matches: MatchSpec,
    /// Policies by name, applied in this order.
    #[serde(default)]
    pub policies: Vec<String>,
    /// Changes of the request before it goes to the server.
    #[serde(default)]
    pub rewrite: RewriteSpec,
    /// The pool that answers: `web`, or several with weights: `{ api: 95, canary: 5 }`.
    #[serde(default, deserialize_with = "one_or_weights")]
    #[schemars(with = "OneOrWeights")]
    pub to: BTreeMap<String, u32>,
    /// Sends the client elsewhere.
    #[serde(default)]
    pub redirect: Option<RedirectSpec>,
    /// Answers itself.
    #[serde(default)]
    pub respond: Option<RespondSpec>,
    /// Upgrades that are passed on besides `websocket`, such as `my-protocol/1`; never `h2c`. None unless written.
    #[serde(default)]
    pub upgrades: Vec<String>,
}

/// Conditions that must all hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MatchSpec {
    /// Host without port: `app.example.com`, or `*.example.com` for any name below it. One or a list.
    #[serde(deserialize_with = "form::one_or_many")]
    #[schemars(with = "form::OneOrMany<String>")]
    pub host: Vec<String>,
    /// `/exact`, `/prefix/*` (`/prefix` and all below it), or `{ regex: ... }` over the whole normal path.
    pub path: Option<PathSpec>,
    /// Request methods. One or a list.
    #[serde(deserialize_with = "form::one_or_many")]
    #[schemars(with = "form::OneOrMany<String>")]
    pub method: Vec<String>,
    /// Header fields by name: an exact value or `{ regex: ... }`.
    pub headers: BTreeMap<String, ValueSpec>,
    /// Query parameters by name: an exact value or `{ regex: ... }`.
    pub query: BTreeMap<String, ValueSpec>,
    /// Only requests that came in by this listener.
    pub listener: Option<String>,
}

/// A path as text, or as a regular expression.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum PathSpec {
    Text(String),
    Regex(RegexSpec),
}

/// A value that must be equal, or match a regular expression.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum ValueSpec {
    Exact(String),
    Regex(RegexSpec),
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RegexSpec {
    /// A regular expression (syntax of the Rust `regex` crate); it must match the whole text.
    pub regex: String,
}

/// Text, or a regular expression over it.
struct TextOrRegex<T> {
    expecting: &'static str,
    text: fn(String) -> T,
    regex: fn(RegexSpec) -> T,
}

impl<'de, T> Visitor<'de> for TextOrRegex<T> {
    type Value = T;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expecting)
    }
    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        Ok((self.text)(text.to_owned()))
    }
    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        RegexSpec::deserialize(MapAccessDeserializer::new(map)).map(self.regex)
    }
}

impl<'de> Deserialize<'de> for PathSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expecting = "a path such as `/api/*`, or { regex: ... }";
        deserializer.deserialize_any(TextOrRegex { expecting, text: Self::Text, regex: Self::Regex })
    }
}

impl<'de> Deserialize<'de> for ValueSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expecting = "text, or { regex: ... }";
        deserializer.deserialize_any(TextOrRegex { expecting, text: Self::Exact, regex: Self::Regex })
    }
}

/// What `one_or_weights` reads.
#[derive(JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "only its schema is used")]
enum OneOrWeights {
    One(String),
    Weights(BTreeMap<String, u32>),
}

/// The name of a pool alone means all of the requests.
fn one_or_weights<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, u32>, D::Error> {
    struct Form;
    impl<'de> Visitor<'de> for Form {
        type Value = BTreeMap<String, u32>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("the name of a pool, or a map of names and weights, as text")
        }
        fn visit_str<E: de::Error>(self, pool: &str) -> Result<Self::Value, E> {
            Ok(BTreeMap::from([(pool.to_owned(), 100)]))
        }
        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
            BTreeMap::deserialize(MapAccessDeserializer::new(map))
        }
    }
    deserializer.deserialize_any(Form)
}

/// Changes of the request target and host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RewriteSpec {
    /// Takes this prefix, on segment boundaries, off the path.
    pub strip_prefix: Option<String>,
    /// Puts this prefix before the path, after `strip_prefix`.
    pub add_prefix: Option<String>,
    /// Sends this Host to the server instead of the client's.
    pub host: Option<String>,
}

/// A redirect.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RedirectSpec {
    /// Where to: a path, or a whole URL. With a `/prefix/*` match and a `to` that ends in `/`, what follows the prefix is
    /// kept; the query always is.
    pub to: String,
    /// 301, 302, 303, 307 or 308.
    #[serde(default = "default_redirect_status")]
    pub status: u16,
}

fn default_redirect_status() -> u16 {
    308
}

/// A fixed response.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RespondSpec {
    /// 200 to 599.
    #[serde(default = "default_respond_status")]
    pub status: u16,
    /// Body, sent as `text/plain; charset=utf-8` unless `headers` say otherwise.
    #[serde(default)]
    pub body: String,
    /// Header fields of the response.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
}

fn default_respond_status() -> u16 {
    200
}
