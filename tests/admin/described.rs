//! The description, held against the answers: nothing undescribed, nothing described that is not so.

use lintel::admin::openapi;
use lintel::admin::operation::{Answer, OPERATIONS, Verb};
use serde_json::{Value, json};

use crate::place::{Ask, Place, value};

/// What is wrong with a value, by its schema; the part of JSON Schema that the description uses.
fn faults(value: &Value, schema: &Value, document: &Value, at: &str) -> Vec<String> {
    if let Some(to) = schema["$ref"].as_str() {
        return faults(value, document.pointer(to.strip_prefix('#').unwrap()).unwrap(), document, at);
    }
    if let Some(any) = schema["anyOf"].as_array() {
        let tried: Vec<_> = any.iter().map(|schema| faults(value, schema, document, at)).collect();
        return if tried.iter().any(Vec::is_empty) { Vec::new() } else { tried.concat() };
    }
    let mut found = Vec::new();
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let is = |wanted: &Value| wanted == kind || wanted == "number" && kind == "integer";
    match &schema["type"] {
        Value::Null => {}
        Value::Array(kinds) if kinds.iter().any(is) => {}
        wanted @ Value::String(_) if is(wanted) => {}
        wanted => found.push(format!("{at} is {kind}, not {wanted}")),
    }
    if let Some(allowed) = schema["enum"].as_array().filter(|_| !value.is_null())
        && !allowed.contains(value)
    {
        found.push(format!("{at} is {value}, not one of {allowed:?}"));
    }
    if let (Some(fields), Some(known)) = (value.as_object(), schema["properties"].as_object()) {
        for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            if !fields.contains_key(name) {
                found.push(format!("{at}.{name} is missing"));
            }
        }
        for (name, value) in fields {
            match known.get(name) {
                Some(schema) => found.extend(faults(value, schema, document, &format!("{at}.{name}"))),
                None => found.push(format!("{at}.{name} is not described")),
            }
        }
    }
    for (place, item) in value.as_array().into_iter().flatten().enumerate() {
        found.extend(faults(item, &schema["items"], document, &format!("{at}[{place}]")));
    }
    found
}

#[test]
fn faults_are_found() {
    let schema = json!({ "type": "object", "required": ["a"], "properties": { "a": { "type": ["integer", "null"] } } });
    assert!(faults(&json!({ "a": 1 }), &schema, &Value::Null, "x").is_empty());
    assert!(faults(&json!({ "a": null }), &schema, &Value::Null, "x").is_empty());
    for wrong in [json!({}), json!({ "a": "1" }), json!({ "a": 1, "b": 1 }), json!([])] {
        assert_eq!(faults(&wrong, &schema, &Value::Null, "x").len(), 1, "{wrong}");
    }
}

/// What to ask for to see every operation succeed, in this order.
const SUCCESSES: [&str; 21] = [
    "GET /livez",
    "GET /readyz",
    "GET /metrics",
    "GET /openapi.json",
    "GET /status",
    "GET /listeners",
    "GET /routes",
    "GET /certificates",
    "GET /config",
    "GET /plan",
    "GET /pools",
    "GET /pools/web",
    "POST /pools/web/pause",
    "POST /pools/web/resume",
    "POST /pools/web/servers?address=192.0.2.9:9&weight=3&keep=1",
    "POST /pools/web/servers/192.0.2.9%3A9/weight?weight=4",
    "POST /pools/web/servers/192.0.2.9%3A9/drain?timeout=1500ms",
    "POST /pools/web/servers/192.0.2.9%3A9/undrain",
    "GET /plan",
    "DELETE /pools/web/servers/192.0.2.9%3A9",
    "POST /reload",
];

#[tokio::test]
async fn every_answer_is_as_it_is_described() {
    let place = Place::new().await;
    let document = place.json("GET", "/openapi.json").await;
    assert_eq!(document, openapi::document());
    let mut seen = Vec::new();
    for line in SUCCESSES {
        let (method, target) = line.split_once(' ').unwrap();
        if seen.contains(&"Pool".to_owned()) && line == "GET /plan" {
            let yaml =
                place.yaml.replace("{ path: /no }", "{ path: /none }").replace("  spare:\n", "  spare2:\n");
            place.lintel.rewrite(&yaml.replace("to: spare", "to: spare2"));
        }
        let answer = place.ask(&Ask::new(method, target)).await;
        assert_eq!(answer.status(), 200, "{line}: {}", answer.text());
        let path = target.split('?').next().unwrap();
        let operation = OPERATIONS
            .iter()
            .find(|operation| {
                operation.verb.key().eq_ignore_ascii_case(method) && operation.matches(path).is_some()
            })
            .unwrap();
        let described = &document["paths"][operation.path][operation.verb.key()];
        let content = described["responses"]["200"]["content"].as_object().unwrap();
        let (kind, content) = content.iter().next().unwrap();
        assert!(answer.field("content-type").unwrap().starts_with(kind.as_str()), "{line}");
        if kind == "application/json" {
            let found = faults(&value(&answer), &content["schema"], &document, "answer");
            assert!(found.is_empty(), "{line}: {found:#?}\n{}", answer.text());
        }
        seen.push(described["operationId"].as_str().unwrap().to_owned());
    }
    let others = OPERATIONS.iter().filter(|operation| !seen.contains(&format!("{:?}", operation.name)));
    let others: Vec<_> = others.map(|operation| format!("{:?}", operation.name)).collect();
    // Streams and workers have tests of their own; an upgrade would replace this process.
    assert_eq!(others, ["Events", "Logs", "Upgrade", "Rollout", "Scale"]);
}

#[tokio::test]
async fn every_operation_refuses_as_it_is_described() {
    let place = Place::with("admin: { address: \"127.0.0.1:0\" }\n").await;
    let document = openapi::document();
    for operation in OPERATIONS {
        let target = operation.path.replace("{pool}", "none").replace("{server}", "none");
        let method = operation.verb.key().to_uppercase();
        let described = &document["paths"][operation.path][operation.verb.key()]["responses"];
        let unknown = place.ask_tcp(&Ask::new(&method, &format!("{target}?nonsense=1"))).await;
        let expected = if operation.verb == Verb::Get { 400 } else { 403 };
        assert_eq!(unknown.status(), expected, "{method} {target}");
        let body = place.ask_tcp(&Ask { body: "x", ..Ask::new(&method, &target) }).await;
        assert_eq!(body.status(), if operation.verb == Verb::Get { 413 } else { 403 }, "{method} {target}");
        for answer in [&unknown, &body] {
            let to = described[answer.status().to_string()]["$ref"].as_str().unwrap();
            let schema = document.pointer(&to[1..]).unwrap()["content"]["application/json"]["schema"].clone();
            let found = faults(&value(answer), &schema, &document, "answer");
            assert!(found.is_empty(), "{method} {target}: {found:?}");
        }
        if operation.answer != Answer::Events && operation.path.contains("{pool}") {
            assert!(described["404"].is_object(), "{target}");
        }
    }
}
