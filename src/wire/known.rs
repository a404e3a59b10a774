//! Field names that have rules, and the lookup of a name among them.

macro_rules! known {
    ($($variant:ident = $name:literal,)*) => {
        /// Field names that some rule looks at, resolved once when a field enters a head.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Known { $($variant,)* Other }

        impl Known {
            const ALL: &'static [(Known, &'static str)] = &[$((Known::$variant, $name),)*];

            /// How clients of HTTP/2, and some of HTTP/1.1, write it; empty for `Other`.
            const fn lower(self) -> &'static [u8] {
                match self { $(Self::$variant => const { &lower::<{ $name.len() }>($name) },)* Self::Other => b"" }
            }

            /// The usual spelling with the colon and the space behind it.
            pub fn prefix(self) -> &'static [u8] {
                match self { $(Self::$variant => concat!($name, ": ").as_bytes(),)* Self::Other => b": " }
            }

            /// The usual spelling; empty for `Other`.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* Self::Other => "" }
            }
        }
    };
}

known! {
    Host = "Host",
    ContentLength = "Content-Length",
    TransferEncoding = "Transfer-Encoding",
    Connection = "Connection",
    KeepAlive = "Keep-Alive",
    ProxyConnection = "Proxy-Connection",
    Te = "TE",
    Trailer = "Trailer",
    Upgrade = "Upgrade",
    Expect = "Expect",
    ProxyAuthorization = "Proxy-Authorization",
    ProxyAuthenticate = "Proxy-Authenticate",
    ProxyAuthenticationInfo = "Proxy-Authentication-Info",
    Http2Settings = "HTTP2-Settings",
    XForwardedFor = "X-Forwarded-For",
    XForwardedProto = "X-Forwarded-Proto",
    XForwardedHost = "X-Forwarded-Host",
    XForwardedPort = "X-Forwarded-Port",
    XRealIp = "X-Real-IP",
    Forwarded = "Forwarded",
    Via = "Via",
    XRequestId = "X-Request-Id",
    Cookie = "Cookie",
    SetCookie = "Set-Cookie",
    UserAgent = "User-Agent",
    Referer = "Referer",
    Date = "Date",
    Server = "Server",
    ContentType = "Content-Type",
    ContentEncoding = "Content-Encoding",
    AcceptEncoding = "Accept-Encoding",
    Location = "Location",
    RetryAfter = "Retry-After",
    SecWebSocketKey = "Sec-WebSocket-Key",
    SecWebSocketVersion = "Sec-WebSocket-Version",
    SecWebSocketAccept = "Sec-WebSocket-Accept",
    ClientCertSubject = "X-Client-Cert-Subject",
    ClientCertFingerprint = "X-Client-Cert-Fingerprint",
    ClientCertVerified = "X-Client-Cert-Verified",
}

/// Places of the lookup table; with so many of them a multiplier that parts all names is soon found.
const PLACES: usize = 1024;

/// The one multiplier by which every known name has a place of its own, found while compiling.
const MULTIPLIER: u32 = {
    let mut multiplier = 0x9e37_79b1;
    while places(multiplier).is_none() {
        multiplier += 2;
    }
    multiplier
};

static BY_PLACE: [Known; PLACES] = match places(MULTIPLIER) {
    Some(table) => table,
    None => [Known::Other; PLACES],
};

/// Every known name in its place; `None` where two want the same.
const fn places(multiplier: u32) -> Option<[Known; PLACES]> {
    let mut table = [Known::Other; PLACES];
    let mut next = 0;
    while next < Known::ALL.len() {
        let (known, name) = Known::ALL[next];
        let at = place(name.as_bytes(), multiplier);
        if !matches!(table[at], Known::Other) {
            return None;
        }
        table[at] = known;
        next += 1;
    }
    Some(table)
}

/// Where a name would be, by its length, its first and its last two bytes, whatever their case.
const fn place(name: &[u8], multiplier: u32) -> usize {
    let [first, .., before, last] = name else {
        return match name {
            [first, last] => mixed(2, [*first, *first, *last], multiplier),
            _ => 0,
        };
    };
    mixed(name.len(), [*first, *before, *last], multiplier)
}

const fn mixed(length: usize, bytes: [u8; 3], multiplier: u32) -> usize {
    let all = u32::from_be_bytes([length as u8, bytes[0] | 0x20, bytes[1] | 0x20, bytes[2] | 0x20]);
    (all.wrapping_mul(multiplier) >> 22) as usize
}

impl Known {
    /// Looks a name up, whatever its case.
    pub fn of(name: &[u8]) -> Self {
        let known = BY_PLACE.get(place(name, MULTIPLIER)).copied().unwrap_or(Self::Other);
        // Nearly all come in one of two spellings, and to compare bytes as they are is far cheaper.
        let is_upper = name.first().is_some_and(u8::is_ascii_uppercase);
        let spelling = if is_upper { known.name().as_bytes() } else { known.lower() };
        let is_it = spelling == name || spelling.eq_ignore_ascii_case(name);
        if is_it { known } else { Self::Other }
    }

    const fn bit(self) -> u64 {
        1 << self as u32
    }
}

const _: () = assert!((Known::Other as u32) < u64::BITS);

/// A set of names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Names(u64);

impl Names {
    /// Those that are listed.
    pub const fn of(listed: &[Known]) -> Self {
        let (mut bits, mut next) = (0, 0);
        while next < listed.len() {
            bits |= listed[next].bit();
            next += 1;
        }
        Self(bits)
    }

    pub const fn has(self, known: Known) -> bool {
        self.0 & known.bit() != 0
    }

    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub const fn insert(&mut self, known: Known) {
        self.0 |= known.bit();
    }

    /// What is in one of them or in both.
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What is in both.
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// What is in this one only.
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

/// A name in lower case.
const fn lower<const LENGTH: usize>(name: &str) -> [u8; LENGTH] {
    let mut lower = [0; LENGTH];
    let mut at = 0;
    while at < LENGTH {
        lower[at] = name.as_bytes()[at].to_ascii_lowercase();
        at += 1;
    }
    lower
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_name_is_found_in_any_case() {
        for (known, name) in Known::ALL {
            assert_eq!(Known::of(name.to_ascii_lowercase().as_bytes()), *known);
            assert_eq!(Known::of(name.to_ascii_uppercase().as_bytes()), *known);
        }
        assert_eq!(Known::of(b"x-unknown"), Known::Other);
        assert_eq!(Known::of(&[b'a'; 300]), Known::Other);
        for short in ["", "t", "te", "tea"] {
            assert_eq!(Known::of(short.as_bytes()) == Known::Te, short == "te");
        }
    }
}
