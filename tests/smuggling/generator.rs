//! Cases: a pipeline of one to four requests, most of them with something wrong, cut into pieces at random places.
//!
//! A case depends on the seed and its number alone.

use fastrand::Rng;

use crate::chunks;
use crate::mutation;

/// What one client sends on one connection.
#[derive(Clone, Debug)]
pub struct Case {
    pub number: u32,
    pub pieces: Vec<Vec<u8>>,
    /// Nothing is wrong with it: every request must be served.
    pub is_honest: bool,
    /// What was done to it, in words.
    pub changes: Vec<&'static str>,
}

/// A request in the making.
#[derive(Clone, Debug, Default)]
pub struct Draft {
    /// Bytes before the request line.
    pub before: Vec<u8>,
    pub method: Vec<u8>,
    pub target: Vec<u8>,
    /// With the space before it; empty for HTTP/0.9.
    pub version: Vec<u8>,
    /// Field lines without their ends.
    pub fields: Vec<Vec<u8>>,
    /// A line that ends in another way than CRLF: its number, counted from the request line, and its end.
    pub ends: Vec<(usize, Vec<u8>)>,
    pub body: Vec<u8>,
    /// A whole message for those who look for one where none is.
    pub hidden: Vec<u8>,
}

/// What every body may hide: a request that must never be seen as one.
pub const HIDDEN: &str = "/hidden";

const METHODS: [&str; 10] = ["GET", "GET", "GET", "POST", "POST", "POST", "PUT", "DELETE", "OPTIONS", "HEAD"];

impl Case {
    pub fn of(seed: u64, number: u32) -> Self {
        let mut rng = seeded(seed, number);
        let mut drafts: Vec<Draft> =
            (0..rng.usize(1..=4)).map(|place| Draft::plain(&mut rng, number, place)).collect();
        let is_honest = rng.u8(..10) == 0;
        let mut changes = Vec::new();
        if !is_honest {
            for _ in 0..rng.usize(1..=3) {
                let place = rng.usize(..drafts.len());
                changes.push(mutation::change(&mut drafts[place], &mut rng));
            }
        }
        let mut bytes: Vec<u8> = drafts.iter().flat_map(Draft::bytes).collect();
        if !is_honest && rng.u8(..8) == 0 {
            changes.push(mutation::scratch(&mut bytes, &mut rng));
        }
        let pieces = cut(&bytes, &mut rng);
        Self { number, pieces, is_honest, changes }
    }

    pub fn bytes(&self) -> Vec<u8> {
        self.pieces.concat()
    }
}

impl Draft {
    /// An answer with this token, which every client takes, and a false one to be hidden in it.
    pub fn answer(rng: &mut Rng, token: &str) -> Self {
        let mut draft = Self {
            method: b"HTTP/1.1".to_vec(),
            target: b"200".to_vec(),
            version: b" OK".to_vec(),
            fields: vec![format!("X-Token: {token}").into_bytes(), b"Server: smuggler".to_vec()],
            hidden: b"HTTP/1.1 200 OK\r\nX-Token: false\r\nContent-Length: 5\r\n\r\nfalse".to_vec(),
            ..Self::default()
        };
        let content = content(rng, &draft.hidden);
        draft.frame(&content, rng);
        rng.shuffle(&mut draft.fields);
        draft
    }

    /// A request that every server takes, with a target of its own.
    fn plain(rng: &mut Rng, case: u32, place: usize) -> Self {
        let method = METHODS[rng.usize(..METHODS.len())];
        let tail = ["", "/a/b.html", "?q=1&r=%20", "/%41?x", "/caf%C3%A9"][rng.usize(..5)];
        let mut draft = Self {
            method: method.into(),
            target: format!("/c{case}r{place}{tail}").into_bytes(),
            version: b" HTTP/1.1".to_vec(),
            fields: vec![b"Host: a.test".to_vec(), b"User-Agent: smuggler".to_vec()],
            hidden: hidden(case),
            ..Self::default()
        };
        let has_body = matches!(method, "POST" | "PUT") || (method == "DELETE" && rng.bool());
        if has_body {
            let content = content(rng, &draft.hidden);
            draft.frame(&content, rng);
        }
        rng.shuffle(&mut draft.fields);
        draft
    }

    fn frame(&mut self, content: &[u8], rng: &mut Rng) {
        if rng.bool() {
            self.field(format!("Content-Length: {}", content.len()));
            self.body = content.to_vec();
        } else {
            self.field("Transfer-Encoding: chunked");
            self.body = chunks::encode(content, rng);
        }
    }

    pub fn field(&mut self, line: impl AsRef<[u8]>) {
        self.fields.push(line.as_ref().to_vec());
    }

    /// Puts a field somewhere among the others.
    pub fn insert(&mut self, line: impl AsRef<[u8]>, rng: &mut Rng) {
        let place = rng.usize(..=self.fields.len());
        self.fields.insert(place, line.as_ref().to_vec());
    }

    /// The number of the first field line that begins so, in whatever case.
    pub fn find(&self, name: &str) -> Option<usize> {
        let begins = |line: &Vec<u8>| {
            line.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name.as_bytes()))
        };
        self.fields.iter().position(begins)
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.before.clone();
        let first = [&self.method, b" ".as_slice(), &self.target, &self.version].concat();
        let lines = std::iter::once(&first).chain(&self.fields).chain(std::iter::once(const { &Vec::new() }));
        for (number, line) in lines.enumerate() {
            bytes.extend_from_slice(line);
            let end = self.ends.iter().find(|(at, _)| *at == number);
            bytes.extend_from_slice(end.map_or(b"\r\n", |(_, end)| end));
        }
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

/// Chance that depends on the seed and the number of a case.
pub fn seeded(seed: u64, number: u32) -> Rng {
    Rng::with_seed(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ u64::from(number))
}

/// A body: nothing, text, any bytes, what is to be hidden, or much.
fn content(rng: &mut Rng, hidden: &[u8]) -> Vec<u8> {
    match rng.u8(..20) {
        0 => Vec::new(),
        1..6 => b"hello".to_vec(),
        6..9 => (0..rng.usize(1..200)).map(|_| rng.u8(..)).collect(),
        9 => vec![b'x'; rng.usize(10_000..100_000)],
        _ => hidden.to_vec(),
    }
}

/// A whole request for those who look for one where none is.
fn hidden(case: u32) -> Vec<u8> {
    format!("GET {HIDDEN}-c{case} HTTP/1.1\r\nHost: a.test\r\nX-Forwarded-For: 127.0.0.1\r\n\r\n")
        .into_bytes()
}

/// Cuts bytes into up to six pieces, some of them at the most awkward places: inside a CRLF.
fn cut(bytes: &[u8], rng: &mut Rng) -> Vec<Vec<u8>> {
    let line_ends: Vec<usize> =
        bytes.windows(2).enumerate().filter(|(_, pair)| *pair == b"\r\n").map(|(at, _)| at + 1).collect();
    let mut places: Vec<usize> = (0..rng.usize(..6))
        .map(|_| match rng.choice(&line_ends) {
            Some(place) if rng.bool() => *place,
            _ => rng.usize(..=bytes.len()),
        })
        .collect();
    places.extend([0, bytes.len()]);
    places.sort_unstable();
    places.dedup();
    places.windows(2).map(|ends| bytes[ends[0]..ends[1]].to_vec()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reading::read;

    #[test]
    fn a_case_is_the_same_each_time_and_honest_ones_are_whole() {
        let mut honest = 0;
        for number in 0..2000 {
            let case = Case::of(7, number);
            assert_eq!(case.pieces, Case::of(7, number).pieces);
            if case.is_honest {
                honest += 1;
                let reading = read(&case.bytes());
                assert_eq!(reading.end, "no more bytes", "case {number}");
                assert!(!reading.requests.is_empty());
            }
        }
        assert!((100..400).contains(&honest), "{honest} of 2000");
    }

    #[test]
    fn other_seeds_give_other_cases() {
        let same = (0..100).filter(|number| Case::of(1, *number).bytes() == Case::of(2, *number).bytes());
        assert!(same.count() < 10);
    }
}
