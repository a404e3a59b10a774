//! Plays the table against one running Lintel and tells everything that is not as written.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::{StreamExt, stream};

use crate::case::{Case, Does, Got, Seen, Setup};
use crate::support::lintel::Setup as LintelSetup;
use crate::support::{Connection, Conversation, Origin, Response};

/// How the bytes of a case are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    AtOnce,
    OneByOne,
}

const AT_ONCE: usize = 16;
const PROBE: &str = "GET /probe HTTP/1.1\r\nHost: probe.test\r\n\r\n";

/// Plays all cases; fails with a report of those that do not hold.
pub async fn all(cases: Vec<Case>, pace: Pace) {
    let origins: Vec<Origin> = cases.iter().map(|case| origin(case.server.clone())).collect();
    let lintel = LintelSetup::new(config(&cases, &origins)).start().await;
    let played = stream::iter(cases.iter().zip(&origins)).map(|(case, origin)| {
        let address = lintel.at(case.name);
        async move { (case, play(case, address, origin, pace).await) }
    });
    let outcomes: Vec<(&Case, Vec<String>)> = played.buffer_unordered(AT_ONCE).collect().await;
    let mut failed: Vec<_> = outcomes.into_iter().filter(|(_, wrong)| !wrong.is_empty()).collect();
    failed.sort_by_key(|(case, _)| cases.iter().position(|other| other.name == case.name));
    let mut report = String::new();
    for (case, wrong) in &failed {
        let _ = writeln!(report, "\n{} ({})", case.name, case.why);
        let _ = writeln!(report, "  sent      {}", printable(&case.sent));
        let _ = writeln!(report, "  server    {}", describe(&case.server));
        let _ = writeln!(report, "  expected  {:?}, server sees {:?}", case.got, case.seen);
        for line in wrong {
            let _ = writeln!(report, "  got       {line}");
        }
    }
    assert!(failed.is_empty(), "{} of {} cases do not hold:\n{report}", failed.len(), cases.len());
    lintel.stop().await;
}

/// A listener, a pool and a route for every case.
fn config(cases: &[Case], origins: &[Origin]) -> String {
    let mut yaml = String::from("listeners:\n");
    for case in cases {
        let extra = match case.setup {
            Setup::Plain => "",
            Setup::Trusting => ", trusted_proxies: [127.0.0.0/8]",
            Setup::Tight => ", limits: { head: 1KiB, headers: 10, uri: 64B, body: 16B }",
        };
        let _ = writeln!(yaml, "  {}: {{ address: \"127.0.0.1:0\"{extra} }}", case.name);
    }
    yaml.push_str("pools:\n");
    for (case, origin) in cases.iter().zip(origins) {
        let outliers = "outlier_detection: { consecutive_failures: 1000 }";
        let _ = writeln!(yaml, "  {}: {{ servers: [\"{}\"], {outliers} }}", case.name, origin.address());
    }
    yaml.push_str("routes:\n");
    for case in cases {
        let name = case.name;
        let _ = writeln!(yaml, "  - {{ name: {name}, match: {{ listener: {name} }}, to: {name} }}");
    }
    yaml
}

fn origin(does: Does) -> Origin {
    let does = Arc::new(does);
    Origin::scripted(move |talk| {
        let does = Arc::clone(&does);
        async move { serve(talk, &does).await }
    })
}

async fn serve(mut talk: Conversation, does: &Does) {
    while let Some(request) = talk.request().await {
        if request.target() == "/probe" {
            talk.answer(&request, "probe", b"probe").await;
            continue;
        }
        match does {
            Does::Ok => talk.answer(&request, "ok", b"ok").await,
            Does::Answers(bytes) => drop(talk.send(bytes).await),
            Does::AnswersAndEnds(bytes) => {
                talk.send(bytes).await;
                return;
            }
            Does::AnswersAndResets(bytes) => {
                talk.send(bytes).await;
                return talk.reset();
            }
        }
    }
}

/// Plays one case; gives what is not as written.
async fn play(case: &Case, address: SocketAddr, origin: &Origin, pace: Pace) -> Vec<String> {
    let mut connection = Connection::open(address).await;
    match pace {
        Pace::AtOnce => connection.send(&case.sent).await,
        Pace::OneByOne => connection.send_pieces(&case.sent.chunks(1).collect::<Vec<_>>()).await,
    }
    if case.half_closed {
        connection.half_close().await;
    }
    let mut client =
        Client { connection, methods: case.methods(), answered: 0, waiting: None, wrong: Vec::new() };
    client.check(&case.got).await;
    let mut wrong = client.wrong;
    check_seen(&case.seen, origin, &mut wrong).await;
    let broken = origin.broken();
    if !broken.is_empty() {
        wrong.push(format!("the server was sent what is no request: {broken:?}"));
    }
    wrong
}

struct Client {
    connection: Connection,
    methods: Vec<String>,
    /// Final responses so far.
    answered: usize,
    /// Read, but not expected yet.
    waiting: Option<Response>,
    wrong: Vec<String>,
}

impl Client {
    async fn check(&mut self, expected: &[Got]) {
        let mut last: Option<Response> = None;
        for item in expected {
            match item {
                Got::Status(_) | Got::OneOf(_) | Got::May(_) | Got::Unfinished => {
                    match self.next(*item).await {
                        Ok(Some(response)) => last = Some(response),
                        Ok(None) => {}
                        Err(why) => return self.wrong.push(why),
                    }
                }
                Got::Closed => {
                    let rest = self.connection.rest().await;
                    let waiting = self.waiting.take().map(|response| response.line);
                    if !rest.is_empty() || waiting.is_some() {
                        self.wrong.push(format!("more than expected: {waiting:?} {}", printable(&rest)));
                    }
                }
                Got::Kept => self.probe().await,
                about => match &last {
                    Some(response) => self.wrong.extend(mismatch(*about, response)),
                    None => self.wrong.push(format!("no response that {about:?} could speak of")),
                },
            }
        }
    }

    /// Reads what one of the expectations that take a response asks for.
    async fn next(&mut self, expected: Got) -> Result<Option<Response>, String> {
        let response = match self.waiting.take() {
            Some(response) => Ok(response),
            None => {
                let method = self.methods.get(self.answered).map_or("GET", String::as_str);
                self.connection.try_response_to(method).await
            }
        };
        let accepted = match (&response, expected) {
            (Ok(response), Got::Status(status)) => response.status() == status,
            (Ok(response), Got::OneOf(statuses)) => statuses.contains(&response.status()),
            (Ok(response), Got::Unfinished) => response.status() == 502,
            (Err(why), Got::May(_)) if why.ends_with("after \"\"") => return Ok(None),
            (Err(why), Got::Unfinished) if why.starts_with("the connection ended") => return Ok(None),
            (Ok(response), Got::May(status)) if response.status() != status => {
                self.waiting = response.clone().into();
                return Ok(None);
            }
            (Ok(_), _) => true,
            (Err(why), _) => return Err(format!("instead of {expected:?}: {why}")),
        };
        let response = response?;
        self.answered += usize::from(response.status() >= 200);
        if accepted {
            return Ok(Some(response));
        }
        Err(format!(
            "instead of {expected:?}: {:?} {:?} with body {:?}",
            response.line,
            response.fields,
            response.text()
        ))
    }

    async fn probe(&mut self) {
        self.connection.send(PROBE).await;
        match self.connection.try_response_to("GET").await {
            Ok(response) if response.text() == "probe" => {}
            Ok(response) => {
                self.wrong.push(format!("a next request got {:?} {:?}", response.line, response.text()))
            }
            Err(why) => self.wrong.push(format!("the connection was not kept: {why}")),
        }
    }
}

/// What an expectation about a response does not find in it.
fn mismatch(expected: Got, response: &Response) -> Option<String> {
    let holds = match expected {
        Got::Has(name, value) => response.all(name) == [value],
        Got::All(name, values) => response.all(name) == values,
        Got::Lacks(name) => response.all(name).is_empty(),
        Got::Body(text) => response.text() == text,
        Got::Trailer(name, value) => response.trailers.contains(&(name.to_owned(), value.to_owned())),
        _ => true,
    };
    (!holds).then(|| {
        let Response { line, fields, trailers, .. } = response;
        format!("not {expected:?}: {line:?} {fields:?} {:?} {trailers:?}", response.text())
    })
}

async fn check_seen(expected: &[Seen], origin: &Origin, wrong: &mut Vec<String>) {
    if expected.iter().any(|item| matches!(item, Seen::NoWhole)) {
        origin.all_closed().await;
    }
    let requests: Vec<_> =
        origin.requests().into_iter().filter(|request| request.target() != "/probe").collect();
    let bytes = origin.bytes();
    for item in expected {
        let first = requests.first();
        let of_first = |name: &str| first.map(|request| request.all(name)).unwrap_or_default();
        let holds = match item {
            Seen::Nothing => bytes.is_empty(),
            Seen::NoWhole => requests.is_empty(),
            Seen::Lines(lines) => {
                requests.iter().map(|request| request.line.as_str()).eq(lines.iter().copied())
            }
            Seen::Has(name, value) => of_first(name) == [*value],
            Seen::All(name, values) => of_first(name) == *values,
            Seen::Present(name) => matches!(of_first(name)[..], [one] if !one.is_empty()),
            Seen::Lacks(name) => first.is_some() && of_first(name).is_empty(),
            Seen::Contains(name, part) => of_first(name).join(", ").contains(part),
            Seen::Omits(name, part) => first.is_some() && !of_first(name).join(", ").contains(part),
            Seen::Body(text) => first.is_some_and(|request| request.text() == *text),
            Seen::Trailer(name, value) => {
                first.is_some_and(|request| request.trailers.contains(&((*name).into(), (*value).into())))
            }
            Seen::NoTrailer(name) => {
                let trailers = requests.iter().flat_map(|request| &request.trailers);
                trailers.into_iter().all(|(found, _)| !found.eq_ignore_ascii_case(name))
            }
            Seen::Bytes(part) => bytes.windows(part.len()).any(|window| window == part.as_bytes()),
            Seen::Dropped => {
                // A probe may have opened another connection; the first one must go.
                origin.connection_closed(0).await;
                true
            }
        };
        if !holds {
            wrong.push(format!("the server saw not {item:?}: {}", printable(&bytes)));
        }
    }
}

fn describe(does: &Does) -> String {
    match does {
        Does::Ok => "answers ok".to_owned(),
        Does::Answers(bytes) => format!("answers {}", printable(bytes)),
        Does::AnswersAndEnds(bytes) => format!("answers {} and closes", printable(bytes)),
        Does::AnswersAndResets(bytes) => format!("answers {} and resets", printable(bytes)),
    }
}

/// Bytes as a literal, cut where they become boring.
fn printable(bytes: &[u8]) -> String {
    const SHOWN: usize = 1200;
    let text: String = bytes[..bytes.len().min(SHOWN)].escape_ascii().to_string();
    if bytes.len() > SHOWN {
        format!("\"{text}\" and {} more bytes", bytes.len() - SHOWN)
    } else {
        format!("\"{text}\"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::{broken, case, passed, refused};

    const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

    /// Plays a case with this front in Lintel's place, and a server that saw these bytes.
    async fn verdict(case: &Case, front: &Origin, seen: &[u8]) -> Vec<String> {
        let server = origin(Does::Ok);
        if !seen.is_empty() {
            let mut connection = Connection::open(server.socket_address()).await;
            connection.send(seen).await;
            connection.half_close().await;
            connection.rest().await;
        }
        play(case, front.socket_address(), &server, Pace::AtOnce).await
    }

    /// Answers one request with these bytes and closes.
    fn closing(bytes: &'static str) -> Origin {
        origin(Does::AnswersAndEnds(bytes.into()))
    }

    #[tokio::test]
    async fn a_case_that_holds_has_nothing_wrong() {
        let refusing = closing("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
        let refusal = refused("x", 400, GET, "");
        assert_eq!(verdict(&refusal, &refusing, b"").await, Vec::<String>::new());
        let serving = origin(Does::Ok);
        let pass = passed("x", GET, &[Seen::Lines(&["GET / HTTP/1.1"]), Seen::Has("host", "a")], "");
        assert_eq!(verdict(&pass, &serving, GET.as_bytes()).await, Vec::<String>::new());
        let unfinished = case("x", GET, "").got(&[Got::Unfinished]);
        let cut = closing("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc");
        assert_eq!(verdict(&unfinished, &cut, b"").await, Vec::<String>::new());
    }

    #[tokio::test]
    async fn each_way_not_to_hold_is_found() {
        let refusal = refused("x", 400, GET, "");
        let wrong_status = closing("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
        let two_answers =
            closing("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n");
        let broken_answer = closing("HTTP/1.1 400 Bad Request\nContent-Length: 0\r\n\r\n");
        for front in [&wrong_status, &two_answers, &broken_answer, &closing("")] {
            assert_eq!(verdict(&refusal, front, b"").await.len(), 1);
        }
        let refusing = closing("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
        assert_eq!(verdict(&refusal, &refusing, b"G").await.len(), 1, "the server saw a byte");
        let half = broken("x", 400, GET, "");
        assert_eq!(verdict(&half, &refusing, b"GET / HTTP/1.1\r\n").await.len(), 0);
        assert_eq!(
            verdict(&half, &refusing, GET.as_bytes()).await.len(),
            1,
            "the server saw a whole request"
        );
        let closed = closing("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        assert_eq!(verdict(&passed("x", GET, &[], ""), &closed, b"").await.len(), 1, "not kept");
        let twice = [GET, GET].concat();
        let once = passed("x", GET, &[Seen::Lines(&["GET / HTTP/1.1"])], "");
        assert_eq!(
            verdict(&once, &origin(Does::Ok), twice.as_bytes()).await.len(),
            1,
            "the server saw two requests"
        );
        let no_host = b"GET / HTTP/1.1\r\n\r\n";
        assert_eq!(
            verdict(&passed("x", GET, &[], ""), &origin(Does::Ok), no_host).await.len(),
            1,
            "no request"
        );
    }
}
