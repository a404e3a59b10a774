//! A route's fixed response, compiled to the reply itself.

use super::CompileProblem;
use super::spec::RespondSpec;
use crate::filter::headers::{Direction, check_field};
use crate::reply::Reply;

/// The reply of a `respond` route.
pub fn compile(spec: &RespondSpec) -> Result<Reply, Vec<CompileProblem>> {
    let mut problems = Vec::new();
    if !(200..=599).contains(&spec.status) {
        let message = format!("{} is not a status from 200 to 599", spec.status);
        problems.push(CompileProblem::new("respond.status", message));
    }
    // RFC 9110 sections 15.3.5, 15.3.6 and 15.4.5.
    if matches!(spec.status, 204 | 205 | 304) && !spec.body.is_empty() {
        let message = format!("a response with status {} has no body", spec.status);
        problems.push(CompileProblem::new("respond.body", message));
    }
    let mut reply = Reply::new(spec.status).body(spec.body.as_bytes());
    for (name, value) in &spec.headers {
        match check_field(Direction::Response, name, value) {
            Ok(()) => reply = reply.with(name, value.trim().as_bytes()),
            Err(message) => problems.push(CompileProblem::new(format!("respond.headers.{name}"), message)),
        }
    }
    let has_type = spec.headers.keys().any(|name| name.eq_ignore_ascii_case("content-type"));
    if !has_type && !spec.body.is_empty() {
        reply = reply.with("Content-Type", b"text/plain; charset=utf-8");
    }
    if problems.is_empty() { Ok(reply) } else { Err(problems) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn spec(status: u16, body: &str, headers: &[(&str, &str)]) -> RespondSpec {
        let headers: BTreeMap<_, _> = headers.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect();
        RespondSpec { status, body: body.to_owned(), headers }
    }

    #[test]
    fn a_body_is_plain_text_unless_the_headers_say_otherwise() {
        let reply = compile(&spec(200, "User-agent: *", &[])).unwrap();
        assert_eq!(reply.body, b"User-agent: *");
        assert_eq!(reply.head.all_named("content-type").collect::<Vec<_>>(), [b"text/plain; charset=utf-8"]);
        let reply = compile(&spec(200, "{}", &[("content-type", "application/json")])).unwrap();
        assert_eq!(reply.head.all_named("content-type").collect::<Vec<_>>(), [b"application/json"]);
        assert!(compile(&spec(404, "", &[])).unwrap().head.is_empty());
    }

    #[test]
    fn what_cannot_be_sent_is_a_problem_at_its_key() {
        let at =
            |spec: RespondSpec| compile(&spec).unwrap_err().into_iter().map(|p| p.at).collect::<Vec<_>>();
        assert_eq!(at(spec(100, "", &[])), ["respond.status"]);
        assert_eq!(at(spec(600, "", &[])), ["respond.status"]);
        assert_eq!(at(spec(204, "x", &[])), ["respond.body"]);
        assert_eq!(at(spec(304, "", &[("content-length", "3")])), ["respond.headers.content-length"]);
        assert_eq!(
            at(spec(200, "", &[("a b", "3"), ("x", "1\r\ny: 2")])),
            ["respond.headers.a b", "respond.headers.x"]
        );
    }
}
