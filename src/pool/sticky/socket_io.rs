//! Socket.IO sessions: learns from the handshake's response which server opened a session, and finds it again by the
//! `sid` that every later request of it names.
//!
//! It understands the open packet of Engine.IO 3 and 4 by polling, also in JSONP, and no more of the protocol. Sessions
//! that use a WebSocket alone stay on their one connection and need no entry.

use std::borrow::Cow;
use std::time::Duration;

use lru::LruCache;
use parking_lot::Mutex;
use serde::Deserialize;

use super::super::key::query;
use super::arrivals::Arrivals;
use crate::pool::choice::mix;

/// How much of a handshake's body is read for its session id.
pub const LONGEST_HANDSHAKE: usize = 1024;

/// Sessions kept per pool; beyond it those used longest ago are forgotten, give or take how evenly ids fall on shards.
pub const MOST_SESSIONS: usize = 100_000;

/// Longest session id that is kept, in bytes; Engine.IO's own have 20.
const LONGEST_SID: usize = 128;

/// Bounds of a session's life after its last use, whatever a server announces.
const TTL_SECONDS: std::ops::RangeInclusive<u64> = 1..=86_400;

/// Locks that the table is spread over: two threads seldom meet.
const SHARDS: usize = 32;

/// Which server each session lives on, shared by all engine threads.
pub struct SocketIoTable {
    /// `SHARDS` of them.
    shards: Box<[Shard]>,
    pub(super) arrivals: Arrivals,
}

/// Sessions by id, the one used longest ago first to go.
type Shard = Mutex<LruCache<Box<[u8]>, Session>>;

#[derive(Clone, Copy, Debug)]
struct Session {
    server: u64,
    ttl_ms: u64,
    /// On the process clock.
    ends_ms: u64,
}

/// How a handshake asks to talk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Polling,
    WebSocket,
}

/// What the first bytes of a handshake's response say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Learned {
    /// The session's id, and how long it lives after its last use: pingInterval + pingTimeout.
    Learn { sid: String, ttl: Duration },
    /// Nothing yet.
    NeedMore,
    /// No open packet, or none within `LONGEST_HANDSHAKE`.
    NotHandshake,
}

impl Default for SocketIoTable {
    fn default() -> Self {
        // Unbounded in itself, so that an idle pool holds no memory for 100,000; `learn` keeps the bound.
        let shards = (0..SHARDS).map(|_| Mutex::new(LruCache::unbounded())).collect();
        Self { shards, arrivals: Arrivals::default() }
    }
}

impl std::fmt::Debug for SocketIoTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SocketIoTable").field("len", &self.len()).finish()
    }
}

impl SocketIoTable {
    /// Id of the server that a session lives on; its life starts anew.
    pub fn find(&self, sid: &[u8], now_ms: u64) -> Option<u64> {
        let mut shard = self.shard(sid).lock();
        let session = shard.get_mut(sid)?;
        if session.ends_ms <= now_ms {
            shard.pop(sid);
            return None;
        }
        session.ends_ms = now_ms.saturating_add(session.ttl_ms);
        Some(session.server)
    }

    /// Remembers where a session lives.
    pub fn learn(&self, sid: &str, server: u64, ttl: Duration, now_ms: u64) {
        if sid.is_empty() || sid.len() > LONGEST_SID {
            return;
        }
        let ttl_ms = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
        let session = Session { server, ttl_ms, ends_ms: now_ms.saturating_add(ttl_ms) };
        let mut shard = self.shard(sid.as_bytes()).lock();
        shard.put(sid.as_bytes().into(), session);
        while shard.len() > MOST_SESSIONS / SHARDS {
            shard.pop_lru();
        }
        // The sessions of a pool live equally long, so those that ended lie at the end; two per new one keep up.
        for _ in 0..2 {
            if shard.peek_lru().is_none_or(|(_, oldest)| oldest.ends_ms > now_ms) {
                break;
            }
            shard.pop_lru();
        }
    }

    pub fn forget(&self, sid: &[u8]) {
        self.shard(sid).lock().pop(sid);
    }

    /// Every session that lives, with the id of its server and how long it lives after its last use.
    pub fn sessions(&self, now_ms: u64) -> Vec<(String, u64, Duration)> {
        let mut sessions = Vec::new();
        for shard in &self.shards {
            let shard = shard.lock();
            let living = shard.iter().filter(|(_, session)| session.ends_ms > now_ms);
            sessions.extend(living.filter_map(|(sid, session)| {
                let sid = String::from_utf8(sid.to_vec()).ok()?;
                Some((sid, session.server, Duration::from_millis(session.ttl_ms)))
            }));
        }
        sessions
    }

    /// Sessions remembered, with some that have ended.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn shard(&self, sid: &[u8]) -> &Shard {
        let hash = mix(xxhash_rust::xxh64::xxh64(sid, 0));
        &self.shards[hash as usize % SHARDS]
    }
}

/// The session id that an Engine.IO request names; `None` for a handshake and for any other request.
pub fn sid_of_target(target: &[u8]) -> Option<Cow<'_, [u8]>> {
    query(target, "EIO")?;
    let sid = query(target, "sid").filter(|sid| !sid.is_empty())?;
    Some(decode(sid))
}

/// How a request without a session asks to open one; `None` when it does not.
pub fn handshake_of_target(target: &[u8]) -> Option<Transport> {
    query(target, "EIO")?;
    if query(target, "sid").is_some_and(|sid| !sid.is_empty()) {
        return None;
    }
    match query(target, "transport")? {
        b"polling" => Some(Transport::Polling),
        b"websocket" => Some(Transport::WebSocket),
        _ => None,
    }
}

/// Whether a request opens a session.
pub fn is_handshake(target: &[u8]) -> bool {
    handshake_of_target(target).is_some()
}

/// Reads the session id out of the first bytes of the response to a polling handshake.
pub fn learn_from_body(prefix: &[u8]) -> Learned {
    let read =
        if prefix.trim_ascii_start().starts_with(b"_") { read_jsonp(prefix) } else { read_payload(prefix) };
    match read {
        Ok(open) => open.learned(),
        Err(Unread::Incomplete) if prefix.len() < LONGEST_HANDSHAKE => Learned::NeedMore,
        Err(_) => Learned::NotHandshake,
    }
}

/// What follows the `0` of the open packet; other fields (`upgrades`, `maxPayload`) do not matter here.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Open {
    sid: String,
    ping_interval: u64,
    ping_timeout: u64,
}

impl Open {
    fn learned(self) -> Learned {
        if self.sid.is_empty() || self.sid.len() > LONGEST_SID {
            return Learned::NotHandshake;
        }
        let seconds = self.ping_interval.saturating_add(self.ping_timeout).div_ceil(1000);
        let ttl = Duration::from_secs(seconds.clamp(*TTL_SECONDS.start(), *TTL_SECONDS.end()));
        Learned::Learn { sid: self.sid, ttl }
    }
}

enum Unread {
    Incomplete,
    Foreign,
}

/// Engine.IO 4: `0{...}`, perhaps with more packets behind. Engine.IO 3: the same behind its length, `97:0{...}`.
fn read_payload(payload: &[u8]) -> Result<Open, Unread> {
    let payload = payload.trim_ascii_start();
    let digits = payload.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let packet = match payload.get(digits) {
        None if digits <= 6 => return Err(Unread::Incomplete),
        Some(b':') if (1..=6).contains(&digits) => payload.get(digits + 1..).unwrap_or_default(),
        _ => payload,
    };
    match packet.split_first() {
        None => Err(Unread::Incomplete),
        Some((b'0', json)) => read_first(json),
        Some(_) => Err(Unread::Foreign),
    }
}

/// JSONP: `___eio[0]("0{...}");`, the payload as the text of a JavaScript string, which the servers write as JSON.
fn read_jsonp(body: &[u8]) -> Result<Open, Unread> {
    let body = body.trim_ascii_start();
    const CALL: &[u8] = b"___eio[";
    let Some(rest) = body.strip_prefix(CALL) else {
        return Err(if CALL.starts_with(body) { Unread::Incomplete } else { Unread::Foreign });
    };
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    match rest.get(digits..).unwrap_or_default() {
        [b']', b'(', string @ ..] if digits > 0 => read_payload(read_first::<String>(string)?.as_bytes())
            .map_err(
                // The string is whole: what is missing in it does not come.
                |_| Unread::Foreign,
            ),
        [] | [b']'] => Err(Unread::Incomplete),
        _ => Err(Unread::Foreign),
    }
}

/// The first JSON value of a text, whatever follows it.
fn read_first<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Result<T, Unread> {
    T::deserialize(&mut serde_json::Deserializer::from_slice(json)).map_err(|error| {
        if error.is_eof() || is_cut_number(json, &error) { Unread::Incomplete } else { Unread::Foreign }
    })
}

/// In a field that it passes over, serde_json 1 takes the end of the text behind `1.`, `1e` or `-` for a mistake.
fn is_cut_number(json: &[u8], error: &serde_json::Error) -> bool {
    let lines = json.split(|byte| *byte == b'\n');
    let (line, column) = lines.fold((0, 0), |(line, _), text| (line + 1, text.len()));
    error.is_syntax()
        && (error.line(), error.column()) >= (line, column)
        && matches!(json.last(), Some(b'.' | b'e' | b'E' | b'+' | b'-'))
}

/// Undoes percent-encoding, as clients may encode an id of other characters than Engine.IO's own.
fn decode(text: &[u8]) -> Cow<'_, [u8]> {
    if !text.contains(&b'%') {
        return Cow::Borrowed(text);
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        let hex = after.first_chunk::<2>().filter(|_| *first == b'%');
        let byte = hex.and_then(|digits| {
            let [high, low] = digits.map(|digit| char::from(digit).to_digit(16));
            u8::try_from(high? * 16 + low?).ok()
        });
        decoded.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { after.get(2..).unwrap_or_default() } else { after };
    }
    Cow::Owned(decoded)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OPEN: &str = r#"{"sid":"lv_VI97HAXpY6yYWAAAC","upgrades":["websocket"],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}"#;

    fn learned() -> Learned {
        Learned::Learn { sid: "lv_VI97HAXpY6yYWAAAC".into(), ttl: Duration::from_secs(45) }
    }

    /// The open packet in every framing.
    fn bodies() -> Vec<String> {
        let quoted = |text: &str| serde_json::to_string(text).unwrap();
        vec![
            format!("0{OPEN}"),
            format!(" \r\n0 {}", OPEN.replace(',', " ,\n ")),
            format!("0{OPEN}\u{1e}40"),
            format!("{}:0{OPEN}2:40", OPEN.len() + 1),
            format!("___eio[0]({});", quoted(&format!("0{OPEN}"))),
            format!("___eio[12]({});", quoted(&format!("{}:0{OPEN}2:40", OPEN.len() + 1))),
        ]
    }

    #[test]
    fn the_session_id_is_read_in_every_framing_and_from_every_split() {
        for body in bodies() {
            assert_eq!(learn_from_body(body.as_bytes()), learned(), "{body}");
            let whole = (1..).find(|end| learn_from_body(&body.as_bytes()[..*end]) == learned()).unwrap();
            for end in 0..whole {
                assert_eq!(learn_from_body(&body.as_bytes()[..end]), Learned::NeedMore, "{}", &body[..end]);
            }
        }
    }

    #[test]
    fn a_response_may_be_cut_in_a_number_that_does_not_matter() {
        let more = OPEN.replace("\"upgrades\"", "\"load\":-1.5e+3,\"z\":[2E-1],\"upgrades\"");
        for body in [format!("0{more}"), format!("0{}", more.replace(',', ",\n"))] {
            for end in 0..body.len() {
                assert_eq!(learn_from_body(&body.as_bytes()[..end]), Learned::NeedMore, "{}", &body[..end]);
            }
            assert_eq!(learn_from_body(body.as_bytes()), learned());
        }
        for body in ["0{\"a\":1.x", "0{\"a\":-,", "0{\"a\":1e}", "0{x-", "0{\"a\":x\n-"] {
            assert_eq!(learn_from_body(body.as_bytes()), Learned::NotHandshake, "{body}");
        }
    }

    #[test]
    fn what_is_no_open_packet_is_left_alone() {
        for body in [
            "<html>",
            "{\"code\":1,\"message\":\"Session ID unknown\"}",
            "40",
            "1",
            "0[]",
            "0{\"sid\":\"a\"}",
            "0{\"sid\":7,\"pingInterval\":1,\"pingTimeout\":1}",
            "0{\"sid\":\"a\",\"pingInterval\":-1,\"pingTimeout\":1}",
            "0{\"sid\":\"\",\"pingInterval\":1,\"pingTimeout\":1}",
            "1234567890",
            "97:4{}",
            "___eio[x](\"0\")",
            "___eio[0](\"40\");",
            "_x",
            "ok",
        ] {
            let expected =
                if body == "1" || body == "40" { Learned::NeedMore } else { Learned::NotHandshake };
            assert_eq!(learn_from_body(body.as_bytes()), expected, "{body}");
        }
        let endless = format!("0{{\"sid\":\"{}", "a".repeat(LONGEST_HANDSHAKE));
        assert_eq!(learn_from_body(endless.as_bytes()), Learned::NotHandshake);
    }

    #[test]
    fn a_life_is_bounded_whatever_the_server_announces() {
        let ttl = |interval: u64| {
            let body = format!(r#"0{{"sid":"a","pingInterval":{interval},"pingTimeout":{interval}}}"#);
            match learn_from_body(body.as_bytes()) {
                Learned::Learn { ttl, .. } => ttl.as_secs(),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!([ttl(0), ttl(1), ttl(u64::MAX)], [1, 1, 86_400]);
    }

    #[test]
    fn targets_tell_handshakes_from_sessions() {
        let sid = |target: &'static str| sid_of_target(target.as_bytes()).map(|sid| sid.into_owned());
        assert_eq!(sid("/socket.io/?EIO=4&transport=polling&t=x&sid=a-B_1"), Some(b"a-B_1".to_vec()));
        assert_eq!(sid("/chat/?sid=a%2Fb%zz%4&EIO=3&transport=websocket"), Some(b"a/b%zz%4".to_vec()));
        for target in ["/?sid=a", "/?EIO=4&sid=", "/?EIO=4", "/socket.io/", "*"] {
            assert_eq!(sid(target), None, "{target}");
        }
        let handshake = |target: &str| handshake_of_target(target.as_bytes());
        assert_eq!(handshake("/socket.io/?EIO=4&transport=polling&t=abc"), Some(Transport::Polling));
        assert_eq!(handshake("/socket.io/?transport=websocket&EIO=4"), Some(Transport::WebSocket));
        for target in
            ["/?EIO=4&transport=polling&sid=a", "/?transport=polling", "/?EIO=4", "/?EIO=4&transport=x"]
        {
            assert!(!is_handshake(target.as_bytes()), "{target}");
        }
    }

    #[test]
    fn a_session_lives_for_its_time_after_its_last_use() {
        let table = SocketIoTable::default();
        table.learn("a", 7, Duration::from_secs(45), 1_000);
        assert_eq!(table.find(b"a", 45_999), Some(7));
        assert_eq!(table.find(b"a", 90_998), Some(7));
        assert_eq!(table.find(b"a", 135_998), None);
        assert_eq!((table.find(b"a", 1_000), table.len()), (None, 0));
        table.learn("b", 8, Duration::from_secs(45), 1_000);
        table.forget(b"b");
        assert_eq!(table.find(b"b", 1_000), None);
    }

    #[test]
    fn a_table_never_holds_more_than_its_bound_and_forgets_the_oldest() {
        let table = SocketIoTable::default();
        let sid = |number: usize| format!("session-{number:08}");
        for number in 0..MOST_SESSIONS * 2 {
            table.learn(&sid(number), 1, Duration::from_secs(45), 1);
        }
        assert!((MOST_SESSIONS * 98 / 100..=MOST_SESSIONS).contains(&table.len()), "{}", table.len());
        assert_eq!(table.find(sid(0).as_bytes(), 1), None);
        assert_eq!(table.find(sid(MOST_SESSIONS * 2 - 1).as_bytes(), 1), Some(1));
        table.learn(&"x".repeat(LONGEST_SID + 1), 1, Duration::from_secs(45), 1);
        assert_eq!(table.find("x".repeat(LONGEST_SID + 1).as_bytes(), 1), None);
    }

    #[test]
    fn ended_sessions_make_room_as_new_ones_come() {
        let table = SocketIoTable::default();
        let learn = |from: usize, now_ms| {
            (from..from + 10_000)
                .for_each(|n| table.learn(&n.to_string(), 1, Duration::from_secs(45), now_ms));
        };
        learn(0, 1);
        learn(10_000, 60_000);
        assert!(table.len() <= 10_200, "{}", table.len());
    }

    proptest! {
        #[test]
        fn no_body_or_target_makes_the_parsers_fail(
            bytes in prop::collection::vec(any::<u8>(), 0..1200),
            cut in any::<prop::sample::Index>(),
            flip in any::<(prop::sample::Index, u8)>(),
            which in 0usize..6,
        ) {
            _ = (learn_from_body(&bytes), sid_of_target(&bytes), handshake_of_target(&bytes));
            let mut body = bodies()[which].clone().into_bytes();
            let place = flip.0.index(body.len());
            body[place] = flip.1;
            body.truncate(cut.index(body.len()) + 1);
            _ = learn_from_body(&body);
            let target = [b"/?EIO=4&sid=".as_slice(), &bytes].concat();
            _ = sid_of_target(&target);
        }
    }
}
