//! The description of the control interface (OpenAPI 3.1), made from the table of operations and the types of its views.

use std::time::Duration;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::operation::{Answer, Effect, Kind, Name, OPERATIONS, Operation, Parameter, Place};
use super::{schema, view};

/// What anything can be refused with.
const REFUSALS: [(u16, &str); 5] = [
    (400, "A parameter is missing, unknown, written twice or wrong."),
    (401, "The token is missing or wrong."),
    (403, "The header `Lintel-Control` is missing, or Host or Origin are not those of this interface."),
    (413, "There is a body; parameters go into the query."),
    (503, "Lintel is starting or ending, or too many follow already."),
];

const ABOUT: &str = "Looks after a running Lintel. By default it listens on the unix socket `admin.sock` in the run \
directory, for the user of the process alone; there nobody needs a token. Over TCP whatever changes something needs the \
token of `admin.token.file`, and off loopback everything does. Keys of answers are only ever added.";

/// The whole description.
pub fn document() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut generator = settings.for_serialize().into_generator();
    let mut paths: Map<String, Value> = Map::new();
    for operation in OPERATIONS {
        let described = describe(operation, &mut generator);
        let path = paths.entry(operation.path).or_insert_with(|| json!({}));
        if let Some(path) = path.as_object_mut() {
            path.insert(operation.verb.key().to_owned(), described);
        }
    }
    let refusal = of::<schema::Refusal>(&mut generator);
    let refused = of::<schema::Refused>(&mut generator);
    let mut responses = Map::new();
    for (status, about) in REFUSALS
        .into_iter()
        .chain([(404, "There is no such pool or server."), (409, "It cannot be done as things stand.")])
    {
        let mut response =
            json!({ "description": about, "content": { "application/json": { "schema": refusal } } });
        if status == 401
            && let Some(response) = response.as_object_mut()
        {
            let header = json!({ "schema": { "type": "string" }, "required": true });
            response.insert("headers".to_owned(), json!({ "WWW-Authenticate": header }));
        }
        responses.insert(format!("Refusal{status}"), response);
    }
    responses.insert(
        "Refusal422".to_owned(),
        json!({ "description": "The config has problems.", "content": { "application/json": { "schema": refused } } }),
    );
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Lintel control interface",
            "version": env!("CARGO_PKG_VERSION"),
            "description": ABOUT,
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "paths": paths,
        "components": {
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer", "description": "The token of `admin.token.file`." } },
            "responses": responses,
            "schemas": generator.take_definitions(true),
        },
    })
}

/// Its text as it is served and kept in the repository.
pub fn text() -> String {
    let document = document();
    let text = serde_json::to_string_pretty(&document).unwrap_or_else(|_| document.to_string());
    format!("{text}\n")
}

fn describe(operation: &Operation, generator: &mut SchemaGenerator) -> Value {
    let mut parameters: Vec<Value> = operation.parameters.iter().map(parameter).collect();
    let security = match operation.effect {
        // Off loopback alone.
        Effect::Reads => json!([{}, { "token": [] }]),
        Effect::Changes => {
            parameters.push(json!({
                "name": "Lintel-Control",
                "in": "header",
                "required": true,
                "description": "Says that a change is meant.",
                "schema": { "type": "string", "enum": ["1"] },
            }));
            json!([{ "token": [] }])
        }
    };
    let mut responses = Map::new();
    let success = match operation.answer {
        Answer::Events => "A stream of events; `data` is a line of JSON, comments keep the connection alive.",
        _ => "Done.",
    };
    let content = content(operation.answer, generator);
    responses.insert("200".to_owned(), json!({ "description": success, "content": content }));
    for (status, _) in REFUSALS {
        responses
            .insert(status.to_string(), json!({ "$ref": format!("#/components/responses/Refusal{status}") }));
    }
    for status in operation.refusals {
        responses
            .insert(status.to_string(), json!({ "$ref": format!("#/components/responses/Refusal{status}") }));
    }
    if operation.name == Name::Readyz {
        let content = json!({ "text/plain": { "schema": { "type": "string" } }, "application/json": { "schema": of::<schema::Refusal>(generator) } });
        responses
            .insert("503".to_owned(), json!({ "description": "It does not serve.", "content": content }));
    }
    responses.sort_keys();
    json!({
        "operationId": format!("{:?}", operation.name),
        "summary": operation.about,
        "parameters": parameters,
        "security": security,
        "responses": responses,
    })
}

fn parameter(parameter: &Parameter) -> Value {
    let schema = match parameter.kind {
        Kind::Text => json!({ "type": "string", "minLength": 1 }),
        Kind::Address => json!({ "type": "string", "pattern": ADDRESS, "examples": ["10.0.0.1:3000"] }),
        Kind::Flag => json!({ "type": "string", "enum": ["0", "1"], "default": "0" }),
        Kind::Number { least, most, default: None } => {
            json!({ "type": "integer", "minimum": least, "maximum": most })
        }
        Kind::Number { least, most, default: Some(default) } => {
            json!({ "type": "integer", "minimum": least, "maximum": most, "default": default })
        }
        Kind::Time { least_ms, most, default } => {
            json!({ "type": "string", "pattern": time_pattern(least_ms, most), "default": default })
        }
    };
    let place = if parameter.place == Place::Path { "path" } else { "query" };
    json!({
        "name": parameter.name,
        "in": place,
        "required": parameter.place != Place::Query,
        "description": parameter.about,
        "schema": schema,
    })
}

/// Some of what is an address, in a form that generators can follow: all that fits is one.
const ADDRESS: &str = r"^((25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])\.){3}(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9]):([1-9][0-9]{0,3}|[1-5][0-9]{4})$|^\[::[1-9a-f][0-9a-f]{0,3}\]:[1-9][0-9]{0,3}$|^unix:/[a-z0-9/._-]{1,80}$";

fn content(answer: Answer, generator: &mut SchemaGenerator) -> Value {
    let text = json!({ "type": "string" });
    let schema = match answer {
        Answer::Text => return json!({ "text/plain": { "schema": text } }),
        Answer::Prometheus => return json!({ "text/plain": { "schema": text } }),
        Answer::Events => return json!({ "text/event-stream": { "schema": text } }),
        Answer::OpenApi => json!({ "type": "object" }),
        Answer::Status => of::<view::Status>(generator),
        Answer::Listeners => of::<view::Listeners>(generator),
        Answer::Routes => of::<view::Routes>(generator),
        Answer::Certificates => of::<view::Certificates>(generator),
        Answer::Pools => of::<view::Pools>(generator),
        Answer::Pool => of::<view::Pool>(generator),
        Answer::Config => of::<view::Config>(generator),
        Answer::Plan => of::<schema::Plan>(generator),
        Answer::Reloaded => of::<view::Reloaded>(generator),
        Answer::Upgraded => of::<view::Upgraded>(generator),
        Answer::RolledOut => of::<schema::RolledOut>(generator),
        Answer::Paused => of::<view::Paused>(generator),
        Answer::Resumed => of::<view::Resumed>(generator),
        Answer::Servers => of::<view::Servers>(generator),
        Answer::Server => of::<view::Server>(generator),
    };
    json!({ "application/json": { "schema": schema } })
}

fn of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Value {
    generator.subschema_for::<T>().to_value()
}

/// All times from `least_ms`, a power of ten, to `most`, each unit with its own range.
fn time_pattern(least_ms: u64, most: Duration) -> String {
    let most_ms = u64::try_from(most.as_millis()).unwrap_or(u64::MAX);
    let units = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
    let ranges = units.into_iter().filter(|(_, unit)| most_ms >= *unit).map(|(name, unit)| {
        let least = (least_ms / unit).max(1);
        format!("({}){name}", range_pattern(least, most_ms / unit))
    });
    format!("^({})$", ranges.collect::<Vec<_>>().join("|"))
}

/// All numbers from `least`, a power of ten, to `most`, without zeros before them.
fn range_pattern(least: u64, most: u64) -> String {
    let (least, most) = (least.to_string().len(), most.to_string());
    let mut forms: Vec<String> = Vec::new();
    for length in least..most.len() {
        forms.push(format!("[1-9][0-9]{{{}}}", length - 1));
    }
    for (place, digit) in most.bytes().enumerate() {
        let first = if place == 0 { b'1' } else { b'0' };
        if digit > first {
            let (before, after) = (most.get(..place).unwrap_or_default(), most.len() - place - 1);
            let (from, to) = (char::from(first), char::from(digit - 1));
            forms.push(format!("{before}[{from}-{to}][0-9]{{{after}}}"));
        }
    }
    forms.push(most);
    forms.join("|")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_description_in_the_repository_is_fresh() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/openapi.json");
        if std::env::var_os("UPDATE_REFERENCE").is_some() {
            std::fs::write(&path, text()).unwrap();
        }
        let kept = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(kept == text(), "UPDATE_REFERENCE=1 writes docs/openapi.json anew");
    }

    #[test]
    fn every_reference_leads_somewhere() {
        fn walk(value: &Value, document: &Value) {
            match value {
                Value::Object(fields) => {
                    if let Some(Value::String(to)) = fields.get("$ref") {
                        let there = document.pointer(to.strip_prefix('#').unwrap());
                        assert!(there.is_some(), "{to} leads nowhere");
                    }
                    fields.values().for_each(|value| walk(value, document));
                }
                Value::Array(items) => items.iter().for_each(|item| walk(item, document)),
                _ => {}
            }
        }
        let document = document();
        walk(&document, &document);
    }

    #[test]
    fn patterns_take_exactly_their_range() {
        for (least, most) in [(1, 1), (1, 9), (1, 10), (1, 600), (1000, 600_000), (1, 86_400), (10, 345)] {
            let pattern = regex::Regex::new(&format!("^({})$", range_pattern(least, most))).unwrap();
            let interesting = (0..2000).chain(most.saturating_sub(1500)..most + 1500);
            for number in interesting {
                let fits = pattern.is_match(&number.to_string());
                assert_eq!(fits, (least..=most).contains(&number), "{number} in {least}..={most}: {pattern}");
            }
            assert!(!pattern.is_match("01"));
        }
        let pause = regex::Regex::new(&time_pattern(1000, Duration::from_secs(600))).unwrap();
        for (text, expected) in
            [("1s", true), ("600s", true), ("10m", true), ("1000ms", true), ("600000ms", true)]
                .into_iter()
                .chain([
                    ("999ms", false),
                    ("601s", false),
                    ("11m", false),
                    ("1h", false),
                    ("0s", false),
                    ("1", false),
                ])
        {
            assert_eq!(pause.is_match(text), expected, "{text}");
        }
    }
}
