//! The sticky cookie: an opaque value that names a server, the same after every restart, made with a secret key.
//!
//! The value is a MAC over the names of pool and server and nothing else, so it holds no secret of the client, and
//! stealing it gains nothing but that server. It is looked up in a hash map, not compared in constant time: the map's
//! own hash is keyed at random, so how long a look-up takes says nothing about how much of a guess was right.

use std::sync::Arc;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::Link;
use super::key::StickyKey;
use crate::pool::spec::{CookieSpec, SameSite};

/// Bytes of the MAC that go into the value: 128 bits cannot be guessed.
const MAC_BYTES: usize = 16;

/// A cookie's value: 16 bytes of HMAC-SHA256 in base64url without padding.
pub type Token = [u8; 22];

#[derive(Debug)]
pub struct CookieSticky {
    name: String,
    pool: Arc<str>,
    /// Boxed: more than a kilobyte of prepared state.
    key: Box<hmac::Key>,
    max_age_seconds: Option<u64>,
    same_site: SameSite,
}

impl CookieSticky {
    pub fn build(spec: &CookieSpec, pool: Arc<str>, key: &StickyKey) -> Self {
        Self {
            name: spec.cookie.clone(),
            pool,
            key: Box::new(hmac::Key::new(hmac::HMAC_SHA256, key.bytes())),
            // Rounded up: 0 would delete the cookie (RFC 6265 section 5.2.2).
            max_age_seconds: spec
                .ttl
                .map(|ttl| u64::try_from(ttl.std().as_millis().div_ceil(1000)).unwrap_or(u64::MAX)),
            same_site: spec.same_site,
        }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// What names the server of this identity. The NUL keeps `a` + `bc` and `ab` + `c` apart.
    pub fn token(&self, identity: &str) -> Token {
        let mut mac = hmac::Context::with_key(&self.key);
        mac.update(self.pool.as_bytes());
        mac.update(&[0]);
        mac.update(identity.as_bytes());
        let tag = mac.sign();
        let mut token = Token::default();
        let bytes = tag.as_ref().get(..MAC_BYTES).unwrap_or_default();
        // 16 bytes are 22 characters: it cannot fail.
        _ = URL_SAFE_NO_PAD.encode_slice(bytes, &mut token);
        token
    }

    /// The value of a `Set-Cookie` field (RFC 6265 section 4.1).
    pub fn field(&self, token: &Token, link: Link) -> String {
        let mut text = format!("{}={}; Path=/; HttpOnly", self.name, String::from_utf8_lossy(token));
        if let Some(seconds) = self.max_age_seconds {
            text.push_str(&format!("; Max-Age={seconds}"));
        }
        text.push_str(match self.same_site {
            SameSite::Lax => "; SameSite=Lax",
            SameSite::Strict => "; SameSite=Strict",
            SameSite::None => "; SameSite=None",
        });
        // Browsers refuse SameSite=None without Secure.
        if link == Link::Tls || self.same_site == SameSite::None {
            text.push_str("; Secure");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Duration;

    fn sticky(pool: &str, ttl: Option<Duration>, same_site: SameSite) -> CookieSticky {
        let spec = CookieSpec { cookie: "lintel".into(), ttl, same_site, secret: None };
        CookieSticky::build(&spec, pool.into(), &StickyKey::of_bytes(b"0123456789abcdef").unwrap())
    }

    #[test]
    fn the_value_names_pool_and_server_and_stays_the_same() {
        let token = |pool, identity| sticky(pool, None, SameSite::Lax).token(identity);
        assert_eq!(std::str::from_utf8(&token("web", "10.0.0.1:80")).unwrap(), "AG9Rxh4ehFkIH8MgXaYo-Q");
        assert_ne!(token("web", "10.0.0.1:80"), token("web", "10.0.0.2:80"));
        assert_ne!(token("web", "1"), token("we", "b1"));
    }

    #[test]
    fn the_cookie_is_written_as_asked() {
        let token = *b"AAAAAAAAAAAAAAAAAAAAAA";
        let session = sticky("web", None, SameSite::Lax).field(&token, Link::Plain);
        assert_eq!(session, "lintel=AAAAAAAAAAAAAAAAAAAAAA; Path=/; HttpOnly; SameSite=Lax");
        let kept = sticky("web", Some(Duration::from_millis(43_200_001)), SameSite::Strict);
        let end = "; Path=/; HttpOnly; Max-Age=43201; SameSite=Strict; Secure";
        assert!(kept.field(&token, Link::Tls).ends_with(end));
        let cross = sticky("web", None, SameSite::None).field(&token, Link::Plain);
        assert!(cross.ends_with("; SameSite=None; Secure"), "{cross}");
    }
}
