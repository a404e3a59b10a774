//! One line of the table: bytes in, the reply, what the server may see, and why.

/// What the server behind Lintel does with every request but `/probe`.
#[derive(Clone, Debug)]
pub enum Does {
    /// Reads the whole request, answers 200 with the body `ok`, and keeps the connection.
    Ok,
    /// Reads the whole request, sends these bytes, and keeps the connection.
    Answers(Vec<u8>),
    /// Reads the whole request, sends these bytes, and closes.
    AnswersAndEnds(Vec<u8>),
    /// Reads the whole request, sends these bytes, and resets the connection.
    AnswersAndResets(Vec<u8>),
}

/// What the client must get, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Got {
    /// The next response has this status; what follows speaks of it.
    Status(u16),
    /// The next response has one of these statuses, by the choice that `why` gives.
    OneOf(&'static [u16]),
    /// The next response may be this one; if it is another, it waits for its own expectation.
    May(u16),
    /// A field has exactly this one value.
    Has(&'static str, &'static str),
    /// A field stands as often as there are values, in their order.
    All(&'static str, &'static [&'static str]),
    Lacks(&'static str),
    Body(&'static str),
    Trailer(&'static str, &'static str),
    /// The response ends before it is whole, or is a 502: whether its head was already on its way is a matter of timing.
    Unfinished,
    /// Then Lintel closes, without another byte.
    Closed,
    /// Then the connection serves another request.
    Kept,
}

/// What the server may see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Not a single byte.
    Nothing,
    /// Never a whole request; its connection is closed.
    NoWhole,
    /// The request lines, in order; as many as there are. What follows speaks of the first request.
    Lines(&'static [&'static str]),
    Has(&'static str, &'static str),
    All(&'static str, &'static [&'static str]),
    Lacks(&'static str),
    /// A field stands once and says something.
    Present(&'static str),
    /// All values of a field, joined, have this in them.
    Contains(&'static str, &'static str),
    /// No value of a field has this in it.
    Omits(&'static str, &'static str),
    Body(&'static str),
    Trailer(&'static str, &'static str),
    /// No request has a trailer of this name.
    NoTrailer(&'static str),
    /// These bytes stand in what came over the wire.
    Bytes(&'static str),
    /// Lintel closes the connection to the server and does not use it again.
    Dropped,
}

/// How the listener of the case is configured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Setup {
    #[default]
    Plain,
    /// With 127.0.0.1 as a trusted proxy.
    Trusting,
    /// With limits: head 1 KiB, 10 fields, target 64 bytes, body 16 bytes.
    Tight,
}

/// One line of the table.
#[derive(Clone, Debug)]
pub struct Case {
    pub name: &'static str,
    pub sent: Vec<u8>,
    /// The client sends nothing more, and says so.
    pub half_closed: bool,
    pub setup: Setup,
    pub server: Does,
    pub got: Vec<Got>,
    pub seen: Vec<Seen>,
    /// The source, or the reason of a choice.
    pub why: &'static str,
}

/// Refused before anything reaches a server: this status, then close.
pub fn refused(name: &'static str, status: u16, sent: impl AsRef<[u8]>, why: &'static str) -> Case {
    case(name, sent, why).got(&[Got::Status(status), Got::Closed]).seen(&[Seen::Nothing])
}

/// Refused with one of two statuses: which one is a matter of wording.
pub fn refused_as(
    name: &'static str,
    statuses: &'static [u16],
    sent: impl AsRef<[u8]>,
    why: &'static str,
) -> Case {
    case(name, sent, why).got(&[Got::OneOf(statuses), Got::Closed]).seen(&[Seen::Nothing])
}

/// Refused inside the body: the server may have seen a beginning, never a whole request.
pub fn broken(name: &'static str, status: u16, sent: impl AsRef<[u8]>, why: &'static str) -> Case {
    case(name, sent, why).got(&[Got::Status(status), Got::Closed]).seen(&[Seen::NoWhole])
}

/// Passed on, answered 200, and the connection kept.
pub fn passed(name: &'static str, sent: impl AsRef<[u8]>, seen: &'static [Seen], why: &'static str) -> Case {
    case(name, sent, why).got(&[Got::Status(200), Got::Body("ok"), Got::Kept]).seen(seen)
}

/// A plain GET, answered with these bytes by a server that keeps the connection.
pub fn answered(name: &'static str, bytes: impl AsRef<[u8]>, got: &'static [Got], why: &'static str) -> Case {
    let answer = Does::Answers(bytes.as_ref().to_vec());
    case(name, "GET / HTTP/1.1\r\nHost: a\r\n\r\n", why).server(answer).got(got)
}

/// A plain GET, answered with these bytes by a server that then closes.
pub fn ended(name: &'static str, bytes: impl AsRef<[u8]>, got: &'static [Got], why: &'static str) -> Case {
    let answer = Does::AnswersAndEnds(bytes.as_ref().to_vec());
    case(name, "GET / HTTP/1.1\r\nHost: a\r\n\r\n", why).server(answer).got(got)
}

/// Any other case: the server answers `ok`, and nothing is expected yet.
pub fn case(name: &'static str, sent: impl AsRef<[u8]>, why: &'static str) -> Case {
    Case {
        name,
        sent: sent.as_ref().to_vec(),
        half_closed: false,
        setup: Setup::Plain,
        server: Does::Ok,
        got: Vec::new(),
        seen: Vec::new(),
        why,
    }
}

impl Case {
    pub fn half_closed(mut self) -> Self {
        self.half_closed = true;
        self
    }

    pub fn setup(mut self, setup: Setup) -> Self {
        self.setup = setup;
        self
    }

    pub fn server(mut self, server: Does) -> Self {
        self.server = server;
        self
    }

    /// Another request than the plain GET.
    pub fn sent(mut self, sent: impl AsRef<[u8]>) -> Self {
        self.sent = sent.as_ref().to_vec();
        self
    }

    pub fn got(mut self, got: &[Got]) -> Self {
        self.got = got.to_vec();
        self
    }

    pub fn seen(mut self, seen: &[Seen]) -> Self {
        self.seen = seen.to_vec();
        self
    }

    /// Methods of the requests in the sent bytes, in order: a response is read by the method of its request.
    pub fn methods(&self) -> Vec<String> {
        let text = String::from_utf8_lossy(&self.sent).into_owned();
        let is_line = |line: &&str| line.contains(" HTTP/1.") && line.split(' ').count() == 3;
        let method = |line: &str| line.split(' ').next().unwrap_or_default().to_owned();
        text.split("\r\n").filter(is_line).map(method).collect()
    }
}
