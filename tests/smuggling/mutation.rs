//! What can be wrong with a request: each change is one that some server or proxy once read in a way of its own.

use fastrand::Rng;

use crate::chunks;
use crate::generator::Draft;

type Change = fn(&mut Draft, &mut Rng);

const CHANGES: [(&str, Change); 25] = [
    ("a second length", second_length),
    ("another length", other_length),
    ("a second coding", second_coding),
    ("a disguised framing field", disguised_framing),
    ("both framings", both_framings),
    ("a chunk trick", chunk_trick),
    ("a folded line", fold),
    ("white space before a colon", space_before_colon),
    ("a line that ends otherwise", other_line_end),
    ("a control byte in a field", control_byte),
    ("a field twice", twice),
    ("another form of target", target_form),
    ("a path with tricks", path_trick),
    ("another version", version),
    ("another method", method),
    ("options of Connection", connection),
    ("an Upgrade", upgrade),
    ("an Expect", expect),
    ("another Host", host),
    ("bytes before it", before),
    ("a body that is longer or shorter", body_off),
    ("a request behind its body", request_behind),
    ("what only proxies say", forged),
    ("large or many fields", large),
    ("a request in a field", request_in_field),
];

/// How many of the changes, from the first on, are about framing and fields: these can be wrong with answers too.
const OF_ANSWERS: usize = 11;

/// Changes one thing of an answer, and says what.
pub fn change_answer(draft: &mut Draft, rng: &mut Rng) -> &'static str {
    let (name, apply) = match rng.usize(..OF_ANSWERS + 3) {
        0 => ("a longer or shorter body", body_off as Change),
        1 => ("another answer behind it", request_behind as Change),
        2 => ("options of Connection", connection as Change),
        place => CHANGES[place - 3],
    };
    apply(draft, rng);
    name
}

/// Changes one thing, and says what.
pub fn change(draft: &mut Draft, rng: &mut Rng) -> &'static str {
    let (name, apply) = CHANGES[rng.usize(..CHANGES.len())];
    apply(draft, rng);
    name
}

/// Changes bytes wherever they stand.
pub fn scratch(bytes: &mut Vec<u8>, rng: &mut Rng) -> &'static str {
    const AWKWARD: &[u8] = b"\r\n\0 \t:;,/\x0b\x0c\x7f\x80\x85\xa0\xff0%";
    for _ in 0..rng.usize(1..=3) {
        let place = rng.usize(..bytes.len());
        let byte = if rng.bool() { AWKWARD[rng.usize(..AWKWARD.len())] } else { rng.u8(..) };
        match rng.u8(..4) {
            0 => bytes[place] = byte,
            1 => bytes.insert(place, byte),
            2 if bytes.len() > 1 => _ = bytes.remove(place),
            _ => {
                let end = (place + rng.usize(1..40)).min(bytes.len());
                let copy = bytes[place..end].to_vec();
                bytes.splice(place..place, copy);
            }
        }
    }
    "scratched bytes"
}

fn pick<'a, T: ?Sized>(rng: &mut Rng, choices: &[&'a T]) -> &'a T {
    choices[rng.usize(..choices.len())]
}

/// A number that stands for the length of the body, or not.
fn length(draft: &Draft, rng: &mut Rng) -> String {
    let real = draft.body.len();
    match rng.u8(..30) {
        0..5 => real.to_string(),
        5 => "0".into(),
        6 => (real + rng.usize(1..60)).to_string(),
        7 => real.saturating_sub(rng.usize(1..60)).to_string(),
        8 => format!("{real}, {real}"),
        9 => format!("{real},"),
        10 => format!("+{real}"),
        11 => format!("-{real}"),
        12 => format!("0x{real:x}"),
        13 => format!("000{real}"),
        14 => format!("{real} "),
        15 => format!("{real}\t;a=b"),
        16 => format!("\"{real}\""),
        17 => format!("{real}\0"),
        18 => format!("\x0b{real}"),
        19 => format!("{real}\x0c"),
        20 => format!("{real}.0"),
        21 => format!("1_{real}"),
        22 => format!("{}", (1u128 << 64) + real as u128),
        23 => format!("{}", (1u128 << 32) + real as u128),
        24 => format!("{}", (1u128 << 63) + real as u128),
        25 => "9".repeat(rng.usize(18..200)),
        26 => String::new(),
        27 => format!("{real} {real}"),
        28 => format!("\u{a0}{real}"),
        _ => format!("\u{666}{real}"),
    }
}

fn second_length(draft: &mut Draft, rng: &mut Rng) {
    let line = format!("Content-Length: {}", length(draft, rng));
    draft.insert(line, rng);
}

fn other_length(draft: &mut Draft, rng: &mut Rng) {
    let line = format!("Content-Length: {}", length(draft, rng)).into_bytes();
    match draft.find("content-length") {
        Some(place) => draft.fields[place] = line,
        None => draft.insert(line, rng),
    }
}

const CODINGS: [&str; 34] = [
    "chunked",
    "Chunked",
    "CHUNKED",
    "chunked ",
    "\tchunked",
    "chunked,",
    ",chunked",
    "chunked, chunked",
    "chunked, identity",
    "identity, chunked",
    "identity",
    "gzip, chunked",
    "chunked, gzip",
    "xchunked",
    "chunkedx",
    "chunked;a=b",
    "chunked x",
    "\"chunked\"",
    "'chunked'",
    "[chunked]",
    "chunk",
    "chun ked",
    "chunked\0",
    "\x0bchunked",
    "\x0cchunked",
    "chunked\x0c",
    "chunked\r",
    "\rchunked",
    "\nchunked",
    "\r\n chunked",
    "\u{a0}chunked",
    "chun\u{212a}ed",
    "",
    "none, chunked",
];

fn coding(rng: &mut Rng) -> &'static str {
    pick(rng, &CODINGS)
}

fn second_coding(draft: &mut Draft, rng: &mut Rng) {
    let line = format!("Transfer-Encoding: {}", coding(rng));
    if rng.bool()
        && let Some(place) = draft.find("transfer-encoding")
    {
        draft.fields[place] = line.into_bytes();
    } else {
        draft.insert(line, rng);
    }
}

const CODING_NAMES: [&str; 26] = [
    "Transfer-Encoding :",
    "Transfer-Encoding\t:",
    " Transfer-Encoding:",
    "\tTransfer-Encoding:",
    "Transfer_Encoding:",
    "TRANSFER-ENCODING:",
    "transfer-encoding:",
    "Transfer-Encoding\0:",
    "\0Transfer-Encoding:",
    "Transfer-Encoding\x0b:",
    "\x0bTransfer-Encoding:",
    "Transfer-Encoding\r:",
    "Transfer-Encoding\r\n :",
    "Transfer-\r\n Encoding:",
    "Tran\u{17f}fer-Encoding:",
    "Transfer\u{2010}Encoding:",
    "X: y\rTransfer-Encoding:",
    "X: y\nTransfer-Encoding:",
    "X: y\r\rTransfer-Encoding:",
    "X: y\n\rTransfer-Encoding:",
    "X:\nTransfer-Encoding:",
    "X: y\0\nTransfer-Encoding:",
    "Transfer-Encoding::",
    "Transfer-Encoding",
    "\u{feff}Transfer-Encoding:",
    "Content-Encoding:",
];

const LENGTH_NAMES: [&str; 12] = [
    "Content-Length :",
    " Content-Length:",
    "Content_Length:",
    "Content-Length\0:",
    "Content-Length\x0b:",
    "CONTENT-LENGTH:",
    "X: y\rContent-Length:",
    "X: y\nContent-Length:",
    "Content-Length::",
    "Content\u{2010}Length:",
    "Content-Length\r\n :",
    "Content-Length",
];

fn disguised_framing(draft: &mut Draft, rng: &mut Rng) {
    let line = if rng.u8(..3) > 0 {
        let value = if rng.bool() { "chunked" } else { coding(rng) };
        format!("{} {value}", pick(rng, &CODING_NAMES))
    } else {
        format!("{} {}", pick(rng, &LENGTH_NAMES), length(draft, rng))
    };
    draft.insert(line, rng);
}

fn both_framings(draft: &mut Draft, rng: &mut Rng) {
    let inner = if rng.bool() { draft.hidden.clone() } else { b"hello".to_vec() };
    let (coding, number) = (coding(rng), length(draft, rng));
    // The textbook: nothing in chunks, and behind it what a reader of the length takes for content.
    draft.body =
        if rng.bool() { [b"0\r\n\r\n", inner.as_slice()].concat() } else { chunks::encode(&inner, rng) };
    let all = draft.body.len().to_string();
    let number = if rng.bool() { all } else { number };
    draft.fields.retain(|line| {
        !line.to_ascii_lowercase().starts_with(b"content-length")
            && !line.to_ascii_lowercase().starts_with(b"transfer-encoding")
    });
    draft.insert(format!("Content-Length: {number}"), rng);
    let coding = if rng.bool() { "chunked" } else { coding };
    draft.insert(format!("Transfer-Encoding: {coding}"), rng);
}

fn chunk_trick(draft: &mut Draft, rng: &mut Rng) {
    draft.fields.retain(|line| !line.to_ascii_lowercase().starts_with(b"content-length"));
    if draft.find("transfer-encoding").is_none() {
        draft.insert("Transfer-Encoding: chunked", rng);
    }
    draft.body = chunks::trick(rng, &draft.hidden);
}

fn fold(draft: &mut Draft, rng: &mut Rng) {
    let place = rng.usize(..draft.fields.len());
    let fold = pick(
        rng,
        &["\r\n b", "\r\n\tb", "\r\n ", "\n b", "\r b", "\r\n Transfer-Encoding: chunked", "\r\n\r\n b"],
    );
    let line = &mut draft.fields[place];
    let at = if rng.bool() { line.len() } else { rng.usize(..=line.len()) };
    line.splice(at..at, fold.bytes());
}

fn space_before_colon(draft: &mut Draft, rng: &mut Rng) {
    let place = rng.usize(..draft.fields.len());
    let line = &mut draft.fields[place];
    if let Some(colon) = line.iter().position(|byte| *byte == b':') {
        line.insert(colon, *pick(rng, &[&b' ', &b'\t', &0x0b, &0x0c, &b'\r', &0, &0xa0, &0x85]));
    }
}

fn other_line_end(draft: &mut Draft, rng: &mut Rng) {
    let ends: [&[u8]; 9] = [b"\n", b"\r", b"\r\r\n", b"\n\r", b"\0\r\n", b" \r\n", b"", b"\x0b", b"\x85"];
    let line = rng.usize(..draft.fields.len() + 2);
    draft.ends.push((line, pick(rng, &ends).to_vec()));
}

fn control_byte(draft: &mut Draft, rng: &mut Rng) {
    let place = rng.usize(..draft.fields.len());
    let line = &mut draft.fields[place];
    let byte = if rng.bool() { rng.u8(..0x20) } else { *pick(rng, &[&0, &b'\r', &b'\n', &0x7f, &0xff]) };
    let at = rng.usize(..=line.len());
    line.insert(at, byte);
}

fn twice(draft: &mut Draft, rng: &mut Rng) {
    let place = rng.usize(..draft.fields.len());
    let mut copy = draft.fields[place].clone();
    match rng.u8(..3) {
        0 => copy.make_ascii_uppercase(),
        1 => copy.make_ascii_lowercase(),
        _ => {}
    }
    draft.insert(copy, rng);
}

fn target_form(draft: &mut Draft, rng: &mut Rng) {
    let path = String::from_utf8_lossy(&draft.target).into_owned();
    draft.target = match rng.u8(..19) {
        0 => format!("http://a.test{path}"),
        1 => format!("https://b.test{path}"),
        2 => format!("HTTP://a.test:80{path}"),
        3 => format!("http://user@a.test{path}"),
        4 => format!("http://a.test@b.test{path}"),
        5 => "http://a.test".into(),
        6 => "http://a.test?query".into(),
        7 => format!("http://{path}"),
        8 => format!("ftp://a.test{path}"),
        9 => "*".into(),
        10 => "a.test:80".into(),
        11 => path.trim_start_matches('/').into(),
        12 => "?query".into(),
        13 => format!("http:/{path}"),
        14 => format!("http:{path}"),
        15 => format!("http://a.test\\{path}"),
        16 => format!("http://[::1]{path}"),
        17 => format!("http://a.test:99999{path}"),
        _ => String::new(),
    }
    .into_bytes();
    if rng.u8(..3) == 0 {
        draft.method = b"OPTIONS".to_vec();
    }
}

const TAILS: [&[u8]; 48] = [
    b"/../x",
    b"/./x",
    b"/..",
    b"/.",
    b"/%2e%2e/x",
    b"/%2e/x",
    b"/.%2e/x",
    b"/..%2fx",
    b"/..%5cx",
    b"/%2e%2e%2fx",
    b"/..;/x",
    b"/.;a=b/x",
    b"/%252e%252e/x",
    b"//x",
    b"///x//",
    b"/%2f/x",
    b"/%2Fx",
    b"/%5cx",
    b"/\\x",
    b"/\\..\\x",
    b"/%00",
    b"/%0d%0aX:%20y",
    b"/%0aGET%20/hidden",
    b"/%zz",
    b"/%",
    b"/%4",
    b"/%c0%ae%c0%ae/x",
    b"/%ff",
    b"/caf\xc3\xa9",
    b"/\xc3\xa0",
    b"/\xc2\x85x",
    b"/\xc2\xa0x",
    b"/\xe2\x80\xa8",
    b"/\xff",
    b"/a b",
    b"/a\tb",
    b"/a\x0bb",
    b"/a\x0cb",
    b"/a\0b",
    b"/a\x7fb",
    b"/a\rb",
    b"/a#b",
    b"/a#/../hidden HTTP/1.1",
    b"/;x=1",
    b"/a?b?c#d",
    b"/\"<>^`{|}",
    b" HTTP/1.1\r\nHost: b\r\n\r\nGET /hidden",
    b"?x=%zz&y= z",
];

fn path_trick(draft: &mut Draft, rng: &mut Rng) {
    let tail = pick(rng, &TAILS);
    match rng.u8(..8) {
        0 => draft.target = [tail, draft.target.as_slice()].concat(),
        1 => draft.target.extend_from_slice("x".repeat(rng.usize(1000..9000)).as_bytes()),
        _ => draft.target.extend_from_slice(tail),
    }
}

fn version(draft: &mut Draft, rng: &mut Rng) {
    let versions = [
        " HTTP/1.0",
        " HTTP/1.0",
        " HTTP/1.0",
        "",
        " ",
        " HTTP/0.9",
        " HTTP/2.0",
        " HTTP/1.2",
        " HTTP/1.10",
        " HTTP/01.1",
        " HTTP/1",
        " http/1.1",
        " HTTP/1.1 ",
        "  HTTP/1.1",
        " HTTP/1.1\t",
        "\tHTTP/1.1",
        " HTTP/1.1 HTTP/1.0",
        " HTTP/ 1.1",
        " HTTP/1,1",
        " ICAP/1.0",
        " HTTP/1.1\0",
    ];
    draft.version = pick(rng, &versions).into();
    if rng.bool() {
        draft.insert("Connection: keep-alive", rng);
    }
}

fn method(draft: &mut Draft, rng: &mut Rng) {
    let methods = [
        "get",
        "Get",
        "PATCH",
        "PROPFIND",
        "BREW",
        "M-SEARCH",
        "SOURCE",
        "PURGE",
        "QUERY",
        "TRACE",
        "CONNECT",
        "PRI",
        "HEAD",
        "GET ",
        " GET",
        "GET\t",
        "",
        "G(T",
        "GET:",
        "!#$%&'*+-.^_`|~9",
        "GET\0",
        "GET\r\nX",
        "G\u{c9}T",
        "GET / HTTP/1.1\r\nHost: a.test\r\n\r\nPUT",
    ];
    draft.method = pick(rng, &methods).into();
}

fn connection(draft: &mut Draft, rng: &mut Rng) {
    let options = [
        "close",
        "keep-alive",
        "close, keep-alive",
        "Close",
        "close,",
        ", close",
        "te",
        "TE, close",
        "content-length",
        "Content-Length, close",
        "transfer-encoding",
        "host",
        "x-forwarded-for, x-request-id, forwarded, via",
        "x-forwarded-host, user-agent, cookie",
        "upgrade",
        "connection",
        "keep-alive, content-length",
        "close\0",
        "\"close\"",
        "close;q=0",
        "expect",
        "x y",
        "",
        "trailer, te",
    ];
    draft.insert(format!("Connection: {}", pick(rng, &options)), rng);
    if rng.u8(..4) == 0 {
        draft.insert(format!("Proxy-Connection: {}", pick(rng, &options)), rng);
    }
}

fn upgrade(draft: &mut Draft, rng: &mut Rng) {
    let protocol =
        pick(rng, &["h2c", "websocket", "HTTP/2.0", "TLS/1.0", "h2c, websocket", "x", "", "\"h2c\""]);
    draft.insert(format!("Upgrade: {protocol}"), rng);
    if rng.u8(..4) > 0 {
        let options =
            pick(rng, &["Upgrade", "Upgrade, HTTP2-Settings", "upgrade, close", "keep-alive, Upgrade"]);
        draft.insert(format!("Connection: {options}"), rng);
    }
    if rng.bool() {
        draft.insert("HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA", rng);
    }
    if rng.bool() {
        draft.insert("Sec-WebSocket-Version: 777", rng);
    }
}

fn expect(draft: &mut Draft, rng: &mut Rng) {
    let values = [
        "100-continue",
        "100-Continue",
        "100-continue, x",
        "x",
        "",
        "100-continue\0",
        "100-continue;a",
        "101",
    ];
    draft.insert(format!("Expect: {}", pick(rng, &values)), rng);
}

fn host(draft: &mut Draft, rng: &mut Rng) {
    let hosts = [
        "Host: b.test",
        "Host: a.test:80",
        "Host: a.test, b.test",
        "Host:",
        "Host: a.test/x",
        "Host: u@a.test",
        "Host: a.test b",
        "Host: [::1]",
        "Host: [::1",
        "Host: a.test:",
        "Host: a.test:x",
        "Host: a.test:99999",
        "Host: a..test",
        "Host: .",
        "Host: a.test.",
        "Host: caf\u{e9}",
        "Host: a.test#x",
        "Host: a.test\\x",
        "Host: 127.0.0.1",
        "Host: %61.test",
        "Host : a.test",
        " Host: a.test",
        "hOsT: a.test",
        "Host: a.test\0",
        "X-Nothing: x",
    ];
    let line = pick(rng, &hosts);
    match draft.find("host") {
        Some(place) if rng.u8(..3) > 0 => draft.fields[place] = line.into(),
        _ => draft.insert(line, rng),
    }
}

fn before(draft: &mut Draft, rng: &mut Rng) {
    let bytes = [
        "\r\n",
        "\r\n\r\n",
        "\n",
        "\r",
        " ",
        "\t",
        "\0",
        "\x0b",
        "\u{feff}",
        "x",
        "\r\n ",
        "\r\n\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "PROXY TCP4 6.6.6.6 127.0.0.1 1 2\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        "0\r\n\r\n",
        "GET /short\r\n",
        "X: y\r\n",
    ];
    draft.before = pick(rng, &bytes).into();
}

fn body_off(draft: &mut Draft, rng: &mut Rng) {
    if rng.bool() {
        let less = rng.usize(..=draft.body.len());
        draft.body.truncate(less);
    } else {
        let more = ["x", "\r\n", "\n", "0\r\n\r\n", "\0", "GET", "hello, this is more\r\n\r\n"];
        draft.body.extend_from_slice(pick(rng, &more).as_bytes());
    }
}

fn request_behind(draft: &mut Draft, _: &mut Rng) {
    // By a client that is honest about it, this is one request more, and everybody must see it.
    let hidden = draft.hidden.clone();
    draft.body.extend_from_slice(&hidden);
}

fn forged(draft: &mut Draft, rng: &mut Rng) {
    let lines = [
        "X-Forwarded-For: 6.6.6.6",
        "X_Forwarded_For: 6.6.6.6",
        "Forwarded: for=6.6.6.6",
        "X-Request-Id: forged",
        "x_request_id: forged",
        "X-Request-Id: a\r\nX-Request-Id: b",
        "Via: 1.1 lintel",
        "X-HTTP-Method-Override: DELETE",
        "X-Original-URL: /hidden",
        "TE: trailers",
        "TE: chunked, trailers;q=0.5",
        "Trailer: Content-Length",
        "Trailer: X-Sum",
        "Keep-Alive: timeout=1, max=1",
        "Max-Forwards: 0",
        "Range: bytes=0-0",
        "If-Match: *",
        "Proxy: http://6.6.6.6",
        "Cookie: a=b; c=\"d",
    ];
    draft.insert(pick(rng, &lines), rng);
}

fn large(draft: &mut Draft, rng: &mut Rng) {
    match rng.u8(..4) {
        0 => {
            for number in 0..rng.usize(20..140) {
                draft.field(format!("X-{number}: y"));
            }
        }
        1 => draft.insert(format!("X: {}", "y".repeat(rng.usize(1000..40_000))), rng),
        2 => draft.insert(format!("{}: y", "X".repeat(rng.usize(100..10_000))), rng),
        _ => draft.insert(format!("Cookie: {}", "a=b; ".repeat(rng.usize(100..5000))), rng),
    }
}

fn request_in_field(draft: &mut Draft, rng: &mut Rng) {
    let request = draft.hidden.clone();
    let lead = ["X: ", "X: y\r", "X: y\n", "X: y\r\n\r\n", "X: y\n\n", "X: y\r\r", "X: \0\r\n\r\n"];
    draft.insert([pick(rng, &lead).as_bytes(), &request[..request.len() - 4]].concat(), rng);
}
