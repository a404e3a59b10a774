//! Compares the accounts of a run: a strict reader's, Lintel's access log, the server's, and what the clients got.

use std::collections::HashMap;
use std::fmt::{self, Write as _};

use serde_json::Value;

use crate::generator::Case;
use crate::play::case_of;
use crate::reading::{Asked, read};
use crate::servers::{Sight, State, digest};
use crate::support::message::{Parsed, Side, parse};

/// A case that was played.
#[derive(Debug)]
pub struct Played {
    pub case: Case,
    /// All bytes that came back.
    pub answers: Vec<u8>,
    pub end: End,
}

/// How a connection ended.
#[derive(Clone, Copy, Debug)]
pub struct End {
    /// With a reset, so answers may be missing.
    pub was_reset: bool,
    /// Not at all, for as long as anything may take.
    pub is_stuck: bool,
}

/// What came of all cases.
#[derive(Debug, Default)]
pub struct Verdict {
    pub wrong: Vec<String>,
    cases: usize,
    honest: usize,
    /// Whole requests by the strict reader.
    readable: usize,
    /// Requests that Lintel logged as sent to the server, without a fault.
    forwarded: usize,
    /// As these, with a fault in the middle.
    broken_off: usize,
    /// Requests and connections that Lintel answered or ended itself.
    kept_back: usize,
    seen: usize,
    refused: usize,
    partial: usize,
}

/// Mistakes shown in full.
const SHOWN: usize = 12;

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            cases, honest, readable, forwarded, broken_off, kept_back, seen, refused, partial, ..
        } = self;
        write!(f, "{cases} cases ({honest} honest), {readable} requests by the letter; ")?;
        write!(f, "Lintel forwarded {forwarded}, broke off {broken_off}, kept back {kept_back}; ")?;
        write!(
            f,
            "the server saw {seen} whole, refused {refused}, {partial} partial; {} wrong",
            self.wrong.len()
        )
    }
}

impl Verdict {
    pub fn report(&self, kind: &str, seed: u64) -> String {
        let mut report = format!("{kind}, seed {seed}: {self}\n");
        for wrong in self.wrong.iter().take(SHOWN) {
            let _ = writeln!(report, "  {wrong}");
        }
        report
    }
}

/// A target as it must come to a server: bytes beyond ASCII escaped.
fn escaped(line: &str) -> String {
    let escape =
        |byte: u8| if byte.is_ascii() { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    line.bytes().map(escape).collect()
}

/// A line of the access log, with what the server says about it.
struct Entry<'a> {
    line: String,
    record: &'a Value,
    sight: Option<&'a Sight>,
}

impl Entry<'_> {
    fn fault(&self) -> &str {
        self.record["fault"].as_str().unwrap_or_default()
    }

    fn is_forwarded(&self) -> bool {
        self.record["attempts"].as_u64().is_some_and(|attempts| attempts > 0)
    }

    /// Bytes of the body that Lintel says it took.
    fn length(&self) -> usize {
        self.record["body_in"].as_u64().and_then(|length| usize::try_from(length).ok()).unwrap_or(0)
    }

    /// The server answered that it does not serve this, maybe before it had all of it.
    fn is_refused(&self) -> bool {
        self.sight.is_some_and(|sight| sight.state == State::Refused) && (400..600).contains(&self.status())
    }

    fn status(&self) -> u16 {
        self.record["status"].as_u64().and_then(|status| u16::try_from(status).ok()).unwrap_or(0)
    }
}

/// Judges a whole run.
pub fn judge(played: &[Played], records: &[Value], sights: &[Sight]) -> Verdict {
    let mut verdict = Verdict { cases: played.len(), ..Verdict::default() };
    let mut by_case: HashMap<u32, Vec<Entry<'_>>> = HashMap::new();
    let mut by_id: HashMap<&str, (u32, usize)> = HashMap::new();
    for record in records {
        let text = |name: &str| record[name].as_str().unwrap_or_default();
        let Some(number) = case_of(text("peer")) else {
            verdict.wrong.push(format!("a record of no case: {record}"));
            continue;
        };
        let entries = by_case.entry(number).or_default();
        by_id.insert(text("request_id"), (number, entries.len()));
        entries.push(Entry { line: format!("{} {}", text("method"), text("target")), record, sight: None });
    }
    verdict.match_sights(sights, &mut by_case, &by_id);
    for one in played {
        let number = one.case.number;
        let entries = by_case.remove(&number).unwrap_or_default();
        let mut wrong = Vec::new();
        verdict.judge_one(one, &entries, &mut wrong);
        let told = wrong.into_iter().map(|what| format!("case {number} {:?}: {what}", one.case.changes));
        verdict.wrong.extend(told);
    }
    verdict
        .wrong
        .extend(by_case.keys().map(|number| format!("records of case {number}, which was not played")));
    verdict
}

impl Verdict {
    /// Each thing that the server saw must be one that Lintel logged, and each only once.
    fn match_sights<'a>(
        &mut self,
        sights: &'a [Sight],
        by_case: &mut HashMap<u32, Vec<Entry<'a>>>,
        by_id: &HashMap<&str, (u32, usize)>,
    ) {
        // A server that refuses may not have read as far as the id.
        let (known, nameless): (Vec<_>, Vec<_>) = sights.iter().partition(|sight| sight.id.is_some());
        for sight in known {
            let place = sight.id.as_deref().and_then(|id| by_id.get(id));
            let entry = place.and_then(|(case, index)| by_case.get_mut(case)?.get_mut(*index));
            match entry {
                Some(entry) if entry.sight.is_none() => entry.sight = Some(sight),
                Some(_) => self.wrong.push(format!("the server saw it twice: {sight:?}")),
                None => self.wrong.push(format!("the server saw what Lintel did not log: {sight:?}")),
            }
        }
        let mut unseen: HashMap<String, Vec<(u32, usize)>> = HashMap::new();
        for (case, entries) in by_case.iter() {
            for (index, entry) in entries.iter().enumerate() {
                if entry.sight.is_none() && entry.is_forwarded() {
                    unseen.entry(escaped(&entry.line)).or_default().push((*case, index));
                }
            }
        }
        // Targets such as `*` are not of one case alone: those first that were answered as refusals are.
        for places in unseen.values_mut() {
            let is_answered = |(case, index): &(u32, usize)| {
                let entry = by_case.get(case).and_then(|entries| entries.get(*index));
                entry.is_some_and(|entry| entry.fault().is_empty() && entry.status() >= 400)
            };
            places.sort_by_key(is_answered);
        }
        for sight in nameless {
            let place = match sight.state {
                State::Whole => None,
                _ => unseen.get_mut(&sight.line).and_then(Vec::pop),
            };
            let entry = place.and_then(|(case, index)| by_case.get_mut(&case)?.get_mut(index));
            match entry {
                Some(entry) => entry.sight = Some(sight),
                None => self.wrong.push(format!("the server saw what Lintel did not send: {sight:?}")),
            }
        }
        let count = |state| sights.iter().filter(|sight| sight.state == state).count();
        self.seen += count(State::Whole);
        self.refused += count(State::Refused);
        self.partial += count(State::Partial);
    }

    fn judge_one(&mut self, played: &Played, entries: &[Entry<'_>], wrong: &mut Vec<String>) {
        if played.end.is_stuck {
            let records: Vec<String> = entries.iter().map(|entry| entry.record.to_string()).collect();
            let sights: Vec<_> = entries.iter().map(|entry| entry.sight).collect();
            wrong.push(format!("never ended: {records:?} {sights:?}"));
            return;
        }
        let reading = read(&played.case.bytes());
        self.readable += reading.requests.len();
        let mut expected = reading.requests.iter();
        let mut is_over = false;
        for entry in entries {
            if !entry.is_forwarded() {
                self.kept_back += 1;
                if let Some(sight) = entry.sight {
                    wrong.push(format!("kept back, but the server saw {sight:?}"));
                }
                // Nothing that was kept back here leaves the connection in a state to go on.
                is_over = true;
                continue;
            }
            if is_over {
                wrong.push(format!("forwarded behind what was broken: {}", entry.line));
            }
            if entry.record["attempts"] != 1 {
                wrong.push(format!("tried more than once: {}", entry.record));
            }
            if entry.fault().is_empty() {
                self.forwarded += 1;
                let asked = expected.next();
                wrong.extend(compare(entry, asked));
                // Behind a request that its server answered early, Lintel must not look for the next one.
                is_over = asked.is_none_or(|asked| entry.length() < asked.body.len());
            } else {
                self.broken_off += 1;
                is_over = true;
                wrong.extend(compare_broken(entry));
            }
        }
        if played.case.is_honest {
            self.honest += 1;
            let served =
                entries.iter().filter(|entry| entry.status() == 200 && entry.fault().is_empty()).count();
            if served != reading.requests.len() || played.end.was_reset {
                wrong.push(format!("{served} of {} honest requests were served", reading.requests.len()));
            }
        }
        wrong.extend(answers_differ(played, entries).err());
    }
}

/// A request that was passed on whole: the strict reader, Lintel and the server must agree.
fn compare(entry: &Entry<'_>, expected: Option<&Asked>) -> Option<String> {
    let Some(asked) = expected else {
        let why = "Lintel forwarded what no strict reader reads";
        return (!entry.is_refused()).then(|| format!("{why}: {}", entry.record));
    };
    let (line, length) = (format!("{} {}", asked.method, asked.target), entry.length());
    let is_enough = length == asked.body.len() || (entry.is_refused() && length < asked.body.len());
    // The log cuts text at 8 KiB.
    if !line.starts_with(&entry.line) || !is_enough {
        let read = asked.body.len();
        return Some(format!("a strict reader reads {line:.200} with {read} bytes: {}", entry.record));
    }
    let Some(sight) = entry.sight else {
        return Some(format!("the server saw nothing of {}", entry.record));
    };
    let agrees = match sight.state {
        State::Whole => sight.length == asked.body.len() && sight.digest == digest(&asked.body),
        State::Refused => entry.is_refused(),
        State::Partial => false,
    };
    (!agrees || sight.line != escaped(&line)).then(|| format!("the server saw {sight:?} of {}", entry.record))
}

/// A request that was broken off: the server must not have it as a whole one.
fn compare_broken(entry: &Entry<'_>) -> Option<String> {
    let by_client =
        matches!(entry.fault(), "bad_request" | "client_gone" | "body_timeout" | "body_too_large");
    match entry.sight {
        Some(sight) if sight.state == State::Whole => {
            Some(format!("broken off, but whole to the server: {sight:?}"))
        }
        // A server that refuses a request before its end may cut the connection.
        None if !by_client => Some(format!("the server failed and saw nothing: {}", entry.record)),
        Some(sight) if !by_client && sight.state != State::Refused => {
            Some(format!("the server failed, {sight:?}: {}", entry.record))
        }
        _ => None,
    }
}

/// The answers must be those of the log, in its order, and each must be the answer to its own request.
fn answers_differ(played: &Played, entries: &[Entry<'_>]) -> Result<(), String> {
    let mut rest = played.answers.as_slice();
    let mut entries = entries.iter().filter(|entry| entry.status() != 0 && entry.status() != 499);
    loop {
        rest = behind_informational(rest);
        if rest.is_empty() {
            break;
        }
        let Some(entry) = entries.next() else {
            return Err(format!("more answers than requests: {}", shown(rest)));
        };
        let method = entry.record["method"].as_str().unwrap_or("GET");
        let answer = match parse(rest, Side::Response { to: method, ended: true }) {
            Parsed::Whole(answer, length) => {
                rest = &rest[length..];
                answer
            }
            _ if played.end.was_reset || !entry.fault().is_empty() => return Ok(()),
            other => return Err(format!("no answer ({other:?}) in {}", shown(rest))),
        };
        if answer.status() != entry.status() {
            return Err(format!("{} where {} is logged", answer.line, entry.record));
        }
        let is_served = answer.status() == 200 && entry.record["method"] != "HEAD";
        if is_served && !answer.text().starts_with(&escaped(&entry.line)) {
            return Err(format!("{:?} is the answer to {}", answer.text(), entry.record));
        }
    }
    match entries.next() {
        Some(entry) if !played.end.was_reset => Err(format!("no answer to {}", entry.record)),
        _ => Ok(()),
    }
}

/// Without the 1xx answers at the start: one may have come to a client that then broke its request off.
fn behind_informational(mut rest: &[u8]) -> &[u8] {
    while let Parsed::Whole(answer, length) = parse(rest, Side::Response { to: "GET", ended: true })
        && answer.status() < 200
    {
        rest = &rest[length..];
    }
    rest
}

fn shown(bytes: &[u8]) -> String {
    bytes[..bytes.len().min(300)].escape_ascii().to_string()
}
