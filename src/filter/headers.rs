//! Sets, adds and removes header fields of requests and responses.
//!
//! Fields that frame a message or belong to one connection are Lintel's own and are refused when compiling.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::CompileProblem;
use crate::wire::head::{Head, Known};
use crate::wire::token::is_token;

/// Edits of both directions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Spec {
    /// Edits of the request before it goes to the server.
    pub request: EditSpec,
    /// Edits of the response before it goes to the client.
    pub response: EditSpec,
}

/// Edits of one head, in this order: remove, set, add.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EditSpec {
    /// Fields that must have exactly this value afterwards.
    pub set: BTreeMap<String, String>,
    /// Fields added beside those that are there.
    pub add: BTreeMap<String, String>,
    /// Fields removed.
    pub remove: Vec<String>,
}

/// Compiled edits of one head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    remove: Box<[Box<str>]>,
    set: Box<[Field]>,
    add: Box<[Field]>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Field {
    name: Box<str>,
    value: Box<[u8]>,
}

/// Which way a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    Request,
    Response,
}

/// The edits of requests and of responses; none where nothing is written.
pub fn compile(spec: &Spec) -> Result<(Option<Edit>, Option<Edit>), Vec<CompileProblem>> {
    let mut problems = Vec::new();
    let request = Edit::compile(Direction::Request, &spec.request, &mut problems);
    let response = Edit::compile(Direction::Response, &spec.response, &mut problems);
    if problems.is_empty() { Ok((request, response)) } else { Err(problems) }
}

impl Edit {
    fn compile(direction: Direction, spec: &EditSpec, problems: &mut Vec<CompileProblem>) -> Option<Self> {
        let key = match direction {
            Direction::Request => "headers.request",
            Direction::Response => "headers.response",
        };
        for (place, name) in spec.remove.iter().enumerate() {
            if let Err(message) = check_editable(direction, name) {
                problems.push(CompileProblem { at: format!("{key}.remove[{place}]"), message });
            }
        }
        let mut fields = |verb: &str, written: &BTreeMap<String, String>| -> Box<[Field]> {
            let mut fields: Vec<Field> = Vec::new();
            for (name, value) in written {
                let is_twice = fields.iter().any(|field| field.name.eq_ignore_ascii_case(name));
                let checked = match is_twice {
                    true => Err(format!("`{name}` is written twice")),
                    false => check_field(direction, name, value),
                };
                if let Err(message) = checked {
                    problems.push(CompileProblem { at: format!("{key}.{verb}.{name}"), message });
                }
                fields.push(Field { name: name.as_str().into(), value: value.trim().as_bytes().into() });
            }
            fields.into()
        };
        let (set, add) = (fields("set", &spec.set), fields("add", &spec.add));
        let remove = spec.remove.iter().map(|name| Box::from(name.as_str())).collect();
        let edit = Self { remove, set, add };
        (!edit.is_empty()).then_some(edit)
    }

    fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.set.is_empty() && self.add.is_empty()
    }

    pub fn apply(&self, head: &mut Head) {
        self.remove.iter().for_each(|name| head.remove(name));
        self.set.iter().for_each(|field| head.set(&field.name, &field.value));
        self.add.iter().for_each(|field| head.add(&field.name, &field.value));
    }
}

/// A field that a user may write into a message.
pub(crate) fn check_field(direction: Direction, name: &str, value: &str) -> Result<(), String> {
    check_editable(direction, name)?;
    match value.chars().find(|c| c.is_ascii_control() && *c != '\t') {
        Some(bad) => Err(format!("the value has a control character, `{}`", bad.escape_default())),
        None => Ok(()),
    }
}

fn check_editable(direction: Direction, name: &str) -> Result<(), String> {
    check_name(name)?;
    match (Known::of(name.as_bytes()), direction) {
        (Known::ContentLength | Known::TransferEncoding | Known::Trailer, _) => {
            Err(format!("`{name}` says how a message is framed; Lintel writes it itself"))
        }
        (
            Known::Connection
            | Known::KeepAlive
            | Known::ProxyConnection
            | Known::Te
            | Known::Upgrade
            | Known::Http2Settings,
            _,
        ) => Err(format!("`{name}` belongs to one connection; Lintel writes it itself")),
        (Known::Expect, Direction::Request) => {
            Err(format!("`{name}` decides when a body is sent; Lintel sees to it itself"))
        }
        (Known::Host, Direction::Request) => {
            Err("write `rewrite: { host: ... }` in the route instead".to_owned())
        }
        _ => Ok(()),
    }
}

/// A token (RFC 9110 section 5.6.2).
pub(crate) fn check_name(name: &str) -> Result<(), String> {
    if is_token(name.as_bytes()) {
        return Ok(());
    }
    Err(format!("`{}` is not the name of a header field", name.escape_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
    }

    fn lines(head: &Head) -> Vec<String> {
        head.iter().map(|field| format!("{}: {}", field.name, String::from_utf8_lossy(field.value))).collect()
    }

    #[test]
    fn fields_are_removed_then_set_then_added() {
        let edit = EditSpec {
            set: fields(&[("x-one", " 1 "), ("x-back", "again")]),
            add: fields(&[("x-two", "more")]),
            remove: vec!["SERVER".into(), "X-Back".into()],
        };
        let (request, response) = compile(&Spec { response: edit, ..Default::default() }).unwrap();
        assert_eq!(request, None);
        let mut head = Head::response(200, "OK");
        for (name, value) in
            [("Server", "a"), ("X-One", "0"), ("x-one", "00"), ("X-Two", "2"), ("x-back", "b")]
        {
            head.add(name, value.as_bytes());
        }
        response.unwrap().apply(&mut head);
        assert_eq!(lines(&head), ["X-One: 1", "X-Two: 2", "x-back: again", "x-two: more"]);
    }

    #[test]
    fn framing_and_connection_fields_are_refused_in_every_edit() {
        let refused = [
            "Connection",
            "transfer-encoding",
            "Content-Length",
            "upgrade",
            "TE",
            "Trailer",
            "Keep-Alive",
            "Proxy-Connection",
        ];
        for direction in [Direction::Request, Direction::Response] {
            for name in refused {
                let edits = [
                    EditSpec { set: fields(&[(name, "1")]), ..Default::default() },
                    EditSpec { add: fields(&[(name, "1")]), ..Default::default() },
                    EditSpec { remove: vec![name.to_owned()], ..Default::default() },
                ];
                for edit in edits {
                    let spec = match direction {
                        Direction::Request => Spec { request: edit, ..Default::default() },
                        Direction::Response => Spec { response: edit, ..Default::default() },
                    };
                    assert_eq!(compile(&spec).unwrap_err().len(), 1, "{name}");
                }
            }
        }
        assert!(check_field(Direction::Request, "host", "a").unwrap_err().contains("rewrite"));
        assert!(check_field(Direction::Response, "Date", "now").is_ok());
    }

    #[test]
    fn a_value_that_would_end_its_line_is_refused() {
        for value in ["a\r\nx: 1", "a\n", "a\0", "\x7f"] {
            assert!(check_field(Direction::Response, "x", value).is_err(), "{value:?}");
        }
        assert!(check_field(Direction::Response, "x", "a\tb \u{e9}").is_ok());
        assert!(check_field(Direction::Response, "", "a").is_err());
        let twice = EditSpec { set: fields(&[("X-A", "1"), ("x-a", "2")]), ..Default::default() };
        let problems = compile(&Spec { request: twice, ..Default::default() }).unwrap_err();
        assert_eq!(problems[0].at, "headers.request.set.x-a");
    }
}
