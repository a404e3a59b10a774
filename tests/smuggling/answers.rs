//! The other direction: servers whose answers can be read in two ways. Whatever they send, a client on a kept connection
//! gets the answer to its own request, a 502, or an end that it can see; never a part of another answer.

use std::sync::Arc;

use futures_util::{StreamExt, stream};

use crate::generator::{Draft, seeded};
use crate::mutation::{change_answer, scratch};
use crate::play::{Plan, config};
use crate::support::message::{Parsed, Response, Side, parse};
use crate::support::{Connection, Conversation, Lintel, Origin};

const AT_ONCE: usize = 32;
/// Requests on one connection.
const REQUESTS: u32 = 3;

/// What a server answers to one request.
struct Answer {
    bytes: Vec<u8>,
    changes: Vec<&'static str>,
    method: &'static str,
    /// The server closes behind it.
    ends: bool,
}

impl Answer {
    fn of(seed: u64, number: u32, place: u32) -> Self {
        let mut rng = seeded(seed.wrapping_add(0xa5), number * REQUESTS + place);
        let method = if rng.u8(..8) == 0 { "HEAD" } else { "GET" };
        let mut draft = Draft::answer(&mut rng, &token(number, place));
        if method == "HEAD" {
            draft.body.clear();
        }
        let mut changes = Vec::new();
        if rng.u8(..3) > 0 {
            for _ in 0..rng.usize(1..=2) {
                changes.push(change_answer(&mut draft, &mut rng));
            }
        }
        let mut bytes = draft.bytes();
        if !changes.is_empty() && rng.u8(..8) == 0 {
            changes.push(scratch(&mut bytes, &mut rng));
        }
        let is_cut = matches!(parse(&bytes, Side::Response { to: method, ended: false }), Parsed::Partial);
        let ends = is_cut || rng.u8(..5) == 0;
        Self { bytes, changes, method, ends }
    }

    /// What a strict client makes of it.
    fn strictly(&self) -> Option<Response> {
        match parse(&self.bytes, Side::Response { to: self.method, ended: self.ends }) {
            Parsed::Whole(response, _) if response.status() >= 200 => Some(response),
            _ => None,
        }
    }
}

fn token(number: u32, place: u32) -> String {
    format!("c{number}r{place}")
}

/// Case and place of a target.
fn place_of(target: &str) -> Option<(u32, u32)> {
    let (number, place) = target.strip_prefix("/c")?.split_once('r')?;
    Some((number.parse().ok()?, place.parse().ok()?))
}

/// Plays as many cases as the environment asks for; fails with a report.
pub async fn mutated() {
    let plan = Plan::of_environment();
    let seed = plan.seed;
    let origin = Origin::scripted(move |talk| serve(talk, seed));
    let quick = "    timeouts: { server_keep_alive: 1h, body_idle: 1s, response: 5s }\n";
    let yaml = config(&origin.address()).replace("    timeouts: { server_keep_alive: 1h }\n", quick);
    let lintel = Arc::new(Lintel::start(yaml).await);
    let playing = stream::iter(plan.first..plan.first + plan.count).map(|number| {
        let address = lintel.http();
        async move { play(Connection::open(address).await, seed, number, plan.is_alone).await }
    });
    let outcomes: Vec<Outcome> = playing.buffer_unordered(AT_ONCE).collect().await;
    let sum = |count: fn(&Outcome) -> usize| outcomes.iter().map(count).sum::<usize>();
    let wrong: Vec<&String> = outcomes.iter().flat_map(|outcome| &outcome.wrong).collect();
    let (served, refused, cut) = (sum(|one| one.served), sum(|one| one.refused), sum(|one| one.cut));
    eprintln!(
        "answers, seed {seed}: {} cases, {served} answers passed on, {refused} answered 502, {cut} cut; {} wrong",
        outcomes.len(),
        wrong.len()
    );
    assert!(wrong.is_empty(), "seed {seed}: {:#?}", &wrong[..wrong.len().min(12)]);
    assert!(origin.broken().is_empty(), "{:?}", origin.broken());
}

async fn serve(mut talk: Conversation, seed: u64) {
    while let Some(head) = talk.head().await {
        let (number, place) = place_of(head.target()).expect("a target of this test");
        let answer = Answer::of(seed, number, place);
        if !talk.send(&answer.bytes).await || answer.ends {
            return;
        }
    }
}

#[derive(Debug, Default)]
struct Outcome {
    served: usize,
    refused: usize,
    cut: usize,
    wrong: Vec<String>,
}

async fn play(mut client: Connection, seed: u64, number: u32, is_alone: bool) -> Outcome {
    let mut outcome = Outcome::default();
    for place in 0..REQUESTS {
        let answer = Answer::of(seed, number, place);
        let request = format!("{} /c{number}r{place} HTTP/1.1\r\nHost: a.test\r\n\r\n", answer.method);
        client.send(request).await;
        let got = loop {
            match client.try_response_to(answer.method).await {
                Ok(informational) if informational.status() < 200 => {}
                got => break got,
            }
        };
        if is_alone {
            eprintln!("{:?} {}\n  -> {got:?}", answer.changes, answer.bytes.escape_ascii());
        }
        let verdict = match &got {
            Ok(got) => judge(&mut outcome, &answer, got, &token(number, place)),
            Err(why) if why.starts_with("the connection ended") && !answer.changes.is_empty() => {
                outcome.cut += 1;
                return outcome;
            }
            Err(why) => Err(why.clone()),
        };
        if let Err(why) = verdict {
            outcome.wrong.push(format!("case {number}, answer {place} {:?}: {why}", answer.changes));
            return outcome;
        }
    }
    outcome
}

fn judge(outcome: &mut Outcome, answer: &Answer, got: &Response, token: &str) -> Result<(), String> {
    if matches!(got.status(), 502 | 504) && !answer.changes.is_empty() {
        outcome.refused += 1;
        return Ok(());
    }
    outcome.served += 1;
    let strictly = answer.strictly();
    // A change may have taken the token out; then the body says whose it is.
    let is_own = match (got.field("x-token"), &strictly) {
        (Some(found), Some(strictly)) => strictly.field("x-token") == Some(found),
        (Some(found), None) => found.starts_with(token),
        (None, strictly) => strictly.is_some() || got.fields.iter().any(|(_, value)| value == token),
    };
    if !is_own {
        return Err(format!("{} {:?} is another answer", got.line, got.field("x-token")));
    }
    match strictly {
        Some(strictly) if strictly.status() != got.status() || strictly.body != got.body => {
            Err(format!("{} with {} bytes of {}", got.line, got.body.len(), strictly.body.len()))
        }
        _ => Ok(()),
    }
}
