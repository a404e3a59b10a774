//! Session tickets (RFC 8446 section 4.6.1, RFC 5077) with keys that can be handed over to another process.
//!
//! rustls' own ticketer keeps its keys to itself, so that every upgrade would end all sessions. A ticket is sealed with
//! AES-256-GCM under a key that is used for six hours and known for another six; its name goes before it.

use std::time::Duration;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::rand;
use parking_lot::RwLock;
use rustls::server::ProducesTickets;

use crate::clock;

/// How long a key makes tickets; it opens them for as long again.
const KEY_LIFE: Duration = Duration::from_secs(6 * 3600);
/// Bytes of a key's name.
const NAME: usize = 16;
const KEY: usize = 32;

/// The keys of one listener, the newest first; two at most.
pub struct Tickets(RwLock<Vec<Key>>);

struct Key {
    secret: TicketKey,
    cipher: RandomizedNonceKey,
}

/// A key as it is handed over.
#[derive(Clone, PartialEq, Eq)]
pub struct TicketKey {
    name: [u8; NAME],
    key: [u8; KEY],
    /// Since 1970.
    made: Duration,
}

/// Why there are no keys.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the system gives no random numbers")]
pub struct MakeKeyError;

impl Tickets {
    pub fn new() -> Result<Self, MakeKeyError> {
        Ok(Self(RwLock::new(vec![Key::make(clock::since_epoch())?])))
    }

    /// The keys, to be handed over.
    pub fn keys(&self) -> Vec<TicketKey> {
        self.0.read().iter().map(|key| key.secret.clone()).collect()
    }

    /// Opens and makes tickets with keys that were handed over.
    pub fn take(&self, keys: Vec<TicketKey>) {
        let keys: Vec<Key> = keys.into_iter().take(2).filter_map(Key::of).collect();
        if !keys.is_empty() {
            *self.0.write() = keys;
        }
    }

    fn renew(&self, now: Duration) {
        let is_old = |keys: &[Key]| keys.first().is_none_or(|key| key.secret.age(now) >= KEY_LIFE);
        if !is_old(&self.0.read()) {
            return;
        }
        let mut keys = self.0.write();
        // Another thread may have been first. Without random numbers the old key goes on.
        if is_old(&keys)
            && let Ok(key) = Key::make(now)
        {
            keys.insert(0, key);
            keys.truncate(2);
        }
    }

    fn seal(&self, plain: &[u8], now: Duration) -> Option<Vec<u8>> {
        self.renew(now);
        let keys = self.0.read();
        let key = keys.first()?;
        let mut sealed = plain.to_vec();
        let nonce = key.cipher.seal_in_place_append_tag(Aad::from(key.secret.name), &mut sealed).ok()?;
        let mut ticket = Vec::with_capacity(NAME + NONCE_LEN + sealed.len());
        ticket.extend_from_slice(&key.secret.name);
        ticket.extend_from_slice(nonce.as_ref());
        ticket.append(&mut sealed);
        Some(ticket)
    }

    fn open(&self, ticket: &[u8], now: Duration) -> Option<Vec<u8>> {
        let (name, rest) = ticket.split_at_checked(NAME)?;
        let (nonce, sealed) = rest.split_at_checked(NONCE_LEN)?;
        let keys = self.0.read();
        let key = keys.iter().find(|key| key.secret.name == *name)?;
        if key.secret.age(now) >= KEY_LIFE * 2 {
            return None;
        }
        let mut plain = sealed.to_vec();
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let length = key.cipher.open_in_place(nonce, Aad::from(key.secret.name), &mut plain).ok()?.len();
        plain.truncate(length);
        Some(plain)
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        u32::try_from(KEY_LIFE.as_secs() * 2).unwrap_or(u32::MAX)
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.seal(plain, clock::since_epoch())
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        self.open(ticket, clock::since_epoch())
    }
}

impl std::fmt::Debug for Tickets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tickets").finish_non_exhaustive()
    }
}

impl Key {
    fn make(now: Duration) -> Result<Self, MakeKeyError> {
        let (mut name, mut key) = ([0; NAME], [0; KEY]);
        rand::fill(&mut name).and_then(|()| rand::fill(&mut key)).map_err(|_| MakeKeyError)?;
        Self::of(TicketKey { name, key, made: now }).ok_or(MakeKeyError)
    }

    fn of(secret: TicketKey) -> Option<Self> {
        let cipher = RandomizedNonceKey::new(&AES_256_GCM, &secret.key).ok()?;
        Some(Self { secret, cipher })
    }
}

impl TicketKey {
    /// How far it is from the calendar's now. When that was turned back, a key that seems to come from the future would else
    /// be used until the calendar is there again.
    fn age(&self, now: Duration) -> Duration {
        now.abs_diff(self.made)
    }

    /// Name, key and time in bytes; for a private connection alone.
    pub fn to_bytes(&self) -> Vec<u8> {
        let made = self.made.as_secs().to_be_bytes();
        [&self.name[..], &self.key[..], &made[..]].concat()
    }

    pub fn of_bytes(bytes: &[u8]) -> Option<Self> {
        let (name, rest) = bytes.split_at_checked(NAME)?;
        let (key, made) = rest.split_at_checked(KEY)?;
        let made = Duration::from_secs(u64::from_be_bytes(made.try_into().ok()?));
        Some(Self { name: name.try_into().ok()?, key: key.try_into().ok()?, made })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Duration = Duration::from_secs(1_700_000_000);

    fn tickets() -> Tickets {
        Tickets(RwLock::new(vec![Key::make(START).unwrap()]))
    }

    #[test]
    fn a_ticket_opens_where_its_key_is_and_nowhere_else() {
        let (ours, theirs) = (tickets(), tickets());
        let ticket = ours.seal(b"session", START).unwrap();
        assert_eq!(ours.open(&ticket, START).unwrap(), b"session");
        assert_eq!(theirs.open(&ticket, START), None);
        let keys = ours.keys().iter().map(|key| TicketKey::of_bytes(&key.to_bytes()).unwrap()).collect();
        theirs.take(keys);
        assert_eq!(theirs.open(&ticket, START).unwrap(), b"session");
        assert_ne!(
            ours.seal(b"session", START),
            ours.seal(b"session", START),
            "each with a nonce of its own"
        );
    }

    #[test]
    fn what_was_changed_or_cut_does_not_open() {
        let ours = tickets();
        let ticket = ours.seal(b"session", START).unwrap();
        for place in 0..ticket.len() {
            let mut changed = ticket.clone();
            changed[place] ^= 1;
            assert_eq!(ours.open(&changed, START), None, "byte {place}");
            assert_eq!(ours.open(&ticket[..place], START), None, "cut at {place}");
        }
    }

    #[test]
    fn a_key_makes_tickets_for_six_hours_and_opens_them_for_six_more() {
        let ours = tickets();
        let ticket = ours.seal(b"one", START).unwrap();
        let later = START + KEY_LIFE;
        let next = ours.seal(b"two", later).unwrap();
        assert_ne!(ticket[..NAME], next[..NAME]);
        assert_eq!(ours.open(&ticket, later).unwrap(), b"one");
        assert_eq!(ours.open(&ticket, START + KEY_LIFE * 2), None);
        assert_eq!(ours.open(&next, START + KEY_LIFE * 2).unwrap(), b"two");
    }

    #[test]
    fn a_calendar_that_was_turned_back_makes_no_key_live_longer() {
        let ours = tickets();
        let ticket = ours.seal(b"one", START).unwrap();
        let yesterday = START - KEY_LIFE * 4;
        assert_eq!(ours.open(&ticket, yesterday), None);
        let next = ours.seal(b"two", yesterday).unwrap();
        assert_ne!(ticket[..NAME], next[..NAME]);
        assert_eq!(ours.open(&next, yesterday + KEY_LIFE).unwrap(), b"two");
    }
}
