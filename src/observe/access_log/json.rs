//! A record as one line of JSON. Whatever bytes a client sends, the line is one valid object and one line: control
//! characters are escaped, bytes that are no UTF-8 become U+FFFD.

use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::stamp::Stamp;
use crate::observe::Record;

/// Longer text is cut: a line stays far below a batch.
pub const TEXT_LIMIT: usize = 8 * 1024;

/// Bytes that most lines fit in.
const USUAL_LINE: usize = 1024;

/// Keys in the order of the line, each with its meaning. `docs/access-log.md` is made of this.
#[cfg(test)]
pub const KEYS: &[(&str, &str)] = &[
    ("time", "when it began: RFC 3339, UTC, milliseconds"),
    ("listener", "the listener's name"),
    ("client", "address of the client; behind `trusted_proxies` the one they announce"),
    ("peer", "address and port of the connection's other end, or what its PROXY header announces"),
    ("method", "request method"),
    ("host", "host that the request names"),
    ("target", "path and query as sent; **the query is not redacted**"),
    ("version", "protocol version: `HTTP/1.0`, `HTTP/1.1` or `HTTP/2.0`"),
    ("status", "status sent to the client; 499 when it left before one was sent"),
    ("route", "the route's name"),
    ("pool", "the pool's name"),
    ("server", "the server that was tried last"),
    ("attempts", "servers tried; 0 when Lintel answered itself"),
    ("reused", "true when the connection to the server had served before"),
    ("tunnel", "true when it became a tunnel (WebSocket)"),
    ("grpc_status", "final status of a gRPC call, as a number"),
    ("fault", "what went wrong, from the list below"),
    ("detail", "the errors behind the fault, in words"),
    ("bytes_in", "bytes of the request, head and body, without TLS"),
    ("bytes_out", "bytes of the response, head and body, without TLS"),
    ("body_in", "bytes of the request's body"),
    ("body_out", "bytes of the response's body"),
    ("duration_ms", "from the request's first byte to the end"),
    ("queue_ms", "waiting in the pool's queue"),
    ("connect_ms", "making the connection to the server, TLS included"),
    ("first_byte_ms", "from the request's first byte to the first byte of the server's response"),
    ("tls", "TLS version of the client's connection: `TLSv1.3`"),
    ("sni", "server name that the client sent in TLS"),
    ("request_id", "X-Request-Id: of a trusted peer, else made; sent to the server and back to the client"),
    ("user_agent", "User-Agent of the request"),
    ("referer", "Referer of the request"),
];

/// Appends the line.
pub fn write(line: &mut Vec<u8>, stamp: &mut Stamp, record: &Record<'_>) {
    line.reserve(USUAL_LINE);
    line.extend_from_slice(b"{\"time\":\"");
    line.extend_from_slice(stamp.of(record.time, "%Y-%m-%dT%H:%M:%S").as_bytes());
    line.push(b'.');
    push_thousandths(line, u64::from(record.time.subsec_millis()));
    line.extend_from_slice(b"Z\"");
    text(line, ",\"listener\":", record.listener.as_bytes());
    if let Some(client) = record.client {
        line.extend_from_slice(b",\"client\":\"");
        push_ip(line, client);
        line.push(b'"');
    }
    if let Some(peer) = record.peer {
        line.extend_from_slice(b",\"peer\":\"");
        push_address(line, peer);
        line.push(b'"');
    }
    text(line, ",\"method\":", record.method);
    text(line, ",\"host\":", record.host);
    text(line, ",\"target\":", record.target);
    text(line, ",\"version\":", record.version.as_bytes());
    if let Some(status) = record.status {
        number(line, ",\"status\":", status.into());
    }
    text(line, ",\"route\":", record.route.as_bytes());
    text(line, ",\"pool\":", record.pool.as_bytes());
    text(line, ",\"server\":", record.server.as_bytes());
    number(line, ",\"attempts\":", record.attempts.into());
    for (is_so, mark) in [(record.reused, ",\"reused\":true"), (record.tunnel, ",\"tunnel\":true")] {
        if is_so {
            line.extend_from_slice(mark.as_bytes());
        }
    }
    if let Some(status) = record.grpc_status {
        number(line, ",\"grpc_status\":", status.into());
    }
    text(line, ",\"fault\":", record.fault.map_or("", |fault| fault.as_str()).as_bytes());
    text(line, ",\"detail\":", record.detail.as_bytes());
    number(line, ",\"bytes_in\":", record.bytes_in);
    number(line, ",\"bytes_out\":", record.bytes_out);
    number(line, ",\"body_in\":", record.body_in);
    number(line, ",\"body_out\":", record.body_out);
    milliseconds(line, ",\"duration_ms\":", Some(record.duration));
    milliseconds(line, ",\"queue_ms\":", record.queue);
    milliseconds(line, ",\"connect_ms\":", record.connect);
    milliseconds(line, ",\"first_byte_ms\":", record.first_byte);
    text(line, ",\"tls\":", record.tls_version.as_bytes());
    text(line, ",\"sni\":", record.sni.as_bytes());
    text(line, ",\"request_id\":", record.request_id.as_bytes());
    text(line, ",\"user_agent\":", record.user_agent);
    text(line, ",\"referer\":", record.referer);
    line.extend_from_slice(b"}\n");
}

/// Nothing when empty.
fn text(line: &mut Vec<u8>, key: &str, value: &[u8]) {
    if !value.is_empty() {
        line.extend_from_slice(key.as_bytes());
        push_string(line, value);
    }
}

fn number(line: &mut Vec<u8>, key: &str, value: u64) {
    line.extend_from_slice(key.as_bytes());
    line.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

fn milliseconds(line: &mut Vec<u8>, key: &str, duration: Option<Duration>) {
    if let Some(duration) = duration {
        let us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        number(line, key, us / 1000);
        line.push(b'.');
        push_thousandths(line, us % 1000);
    }
}

/// Appends an address without a look at format strings: two stand in every line.
pub fn push_ip(line: &mut Vec<u8>, ip: IpAddr) {
    match ip {
        IpAddr::V4(ip) => {
            for (place, octet) in ip.octets().into_iter().enumerate() {
                if place > 0 {
                    line.push(b'.');
                }
                line.extend_from_slice(itoa::Buffer::new().format(octet).as_bytes());
            }
        }
        // Writing to a vector does not fail.
        IpAddr::V6(ip) => drop(write!(line, "{ip}")),
    }
}

fn push_address(line: &mut Vec<u8>, address: SocketAddr) {
    if address.is_ipv6() {
        line.push(b'[');
    }
    push_ip(line, address.ip());
    line.extend_from_slice(if address.is_ipv6() { b"]:" } else { b":" });
    line.extend_from_slice(itoa::Buffer::new().format(address.port()).as_bytes());
}

fn push_thousandths(line: &mut Vec<u8>, value: u64) {
    let digit = |value: u64| b'0' + (value % 10) as u8;
    line.extend_from_slice(&[digit(value / 100), digit(value / 10), digit(value)]);
}

/// Appends a JSON string (RFC 8259 section 7) of any bytes.
pub fn push_string(line: &mut Vec<u8>, value: &[u8]) {
    let value = value.get(..TEXT_LIMIT).unwrap_or(value);
    line.push(b'"');
    if value.iter().all(|byte| PLAIN[usize::from(*byte)]) {
        line.extend_from_slice(value);
        line.push(b'"');
        return;
    }
    for chunk in value.utf8_chunks() {
        push_escaped(line, chunk.valid());
        if !chunk.invalid().is_empty() {
            line.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
    line.push(b'"');
}

/// Bytes that stand for themselves: almost all text is made of them alone.
const PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let mut byte = b' ';
    while byte <= b'~' {
        plain[byte as usize] = byte != b'"' && byte != b'\\';
        byte += 1;
    }
    plain
};

fn push_escaped(line: &mut Vec<u8>, text: &str) {
    let bytes = text.as_bytes();
    let mut plain_from = 0;
    let mut place = 0;
    while let Some(&byte) = bytes.get(place) {
        let (length, code) = match byte {
            b'"' | b'\\' | 0..0x20 | 0x7f => (1, u16::from(byte)),
            // C1 control characters (U+0080 to U+009F), which terminals obey, and the line ends U+2028 and U+2029.
            0xc2 if bytes[place + 1] < 0xa0 => (2, u16::from(bytes[place + 1])),
            0xe2 if bytes[place + 1] == 0x80 && matches!(bytes[place + 2], 0xa8 | 0xa9) => {
                (3, 0x2028 + u16::from(bytes[place + 2] - 0xa8))
            }
            _ => {
                place += 1;
                continue;
            }
        };
        line.extend_from_slice(&bytes[plain_from..place]);
        push_escape(line, code);
        place += length;
        plain_from = place;
    }
    line.extend_from_slice(&bytes[plain_from..]);
}

fn push_escape(line: &mut Vec<u8>, code: u16) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let short = match code {
        0x22 => b'"',
        0x5c => b'\\',
        0x0a => b'n',
        0x0d => b'r',
        0x09 => b't',
        _ => {
            let digit = |shift: u16| HEX[usize::from(code >> shift & 0xf)];
            line.extend_from_slice(&[b'\\', b'u', digit(12), digit(8), digit(4), digit(0)]);
            return;
        }
    };
    line.extend_from_slice(&[b'\\', short]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::observe::Fault;

    fn line_of(record: &Record<'_>) -> String {
        let mut line = Vec::new();
        write(&mut line, &mut Stamp::default(), record);
        String::from_utf8(line).unwrap()
    }

    fn full() -> Record<'static> {
        Record {
            time: Duration::from_millis(1_794_000_000_007),
            listener: "https",
            client: Some("2001:db8::1".parse().unwrap()),
            peer: Some("10.0.0.9:40000".parse().unwrap()),
            host: b"app.example.com",
            method: b"GET",
            target: b"/a?b=\"c\"",
            version: "HTTP/1.1",
            route: "site",
            pool: "web",
            server: "10.0.0.21:3000",
            status: Some(502),
            fault: Some(Fault::ConnectFailed),
            detail: "connect: connection refused",
            bytes_in: 100,
            bytes_out: 200,
            body_in: 1,
            body_out: 2,
            duration: Duration::from_micros(12_345),
            queue: Some(Duration::from_micros(7)),
            connect: Some(Duration::from_millis(3)),
            first_byte: Some(Duration::from_secs(1)),
            attempts: 2,
            reused: true,
            tunnel: true,
            grpc_status: Some(5),
            tls_version: "TLSv1.3",
            sni: "app.example.com",
            request_id: "0123",
            user_agent: b"curl/8",
            referer: b"https://example.com/",
        }
    }

    #[test]
    fn a_full_record_has_every_documented_key_in_order() {
        let line = line_of(&full());
        let mut from = 0;
        for (key, _) in KEYS {
            let quoted = format!("\"{key}\":");
            from += line[from..].find(&quoted).unwrap_or_else(|| panic!("{key} out of place in {line}"));
        }
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value.as_object().unwrap().len(), KEYS.len());
        assert_eq!(value["time"], "2026-11-06T21:20:00.007Z");
        assert_eq!(value["client"], "2001:db8::1");
        assert_eq!(value["target"], "/a?b=\"c\"");
        assert_eq!(value["fault"], "connect_failed");
        assert!(line.contains("\"duration_ms\":12.345,\"queue_ms\":0.007,\"connect_ms\":3.000"), "{line}");
    }

    #[test]
    fn addresses_read_as_ever() {
        for text in
            ["0.0.0.0:0", "203.0.113.255:65535", "[::]:80", "[2001:db8::a:1]:443", "[::ffff:10.0.0.1]:1"]
        {
            let address: SocketAddr = text.parse().unwrap();
            let mut line = Vec::new();
            push_address(&mut line, address);
            line.push(b' ');
            push_ip(&mut line, address.ip());
            assert_eq!(String::from_utf8(line).unwrap(), format!("{address} {}", address.ip()));
        }
    }

    #[test]
    fn what_is_not_known_is_left_out() {
        let line = line_of(&Record { listener: "http", ..Record::default() });
        assert_eq!(
            line,
            "{\"time\":\"1970-01-01T00:00:00.000Z\",\"listener\":\"http\",\"attempts\":0,\"bytes_in\":0,\
             \"bytes_out\":0,\"body_in\":0,\"body_out\":0,\"duration_ms\":0.000}\n"
        );
    }

    #[test]
    fn nothing_in_a_line_moves_a_terminal_or_ends_the_line() {
        let mut line = Vec::new();
        push_string(&mut line, "a\u{1b}[31m\n\r\t\0\u{7f}\u{9b}\u{85}\u{2028}\u{2029}é€".as_bytes());
        let line = String::from_utf8(line).unwrap();
        assert_eq!(line, r#""a\u001b[31m\n\r\t\u0000\u007f\u009b\u0085\u2028\u2029é€""#);
    }

    #[test]
    fn times_out_of_the_calendar_and_long_text_do_no_harm() {
        let long = vec![0xff; 3 * TEXT_LIMIT];
        let record = Record { time: Duration::MAX, duration: Duration::MAX, target: &long, ..full() };
        let value: serde_json::Value = serde_json::from_str(&line_of(&record)).unwrap();
        assert_eq!(value["target"].as_str().unwrap().chars().count(), TEXT_LIMIT);
    }

    proptest! {
        #[test]
        fn any_bytes_become_one_line_that_parses_back(bytes in any::<Vec<u8>>()) {
            let mut line = Vec::new();
            push_string(&mut line, &bytes);
            prop_assert!(!line.iter().any(|byte| *byte < 0x20));
            let back: String = serde_json::from_slice(&line).unwrap();
            prop_assert_eq!(back, String::from_utf8_lossy(&bytes));
        }

        #[test]
        fn any_text_becomes_one_line_that_parses_back(text in "\\PC*|[\\x00-\\xff\u{2000}-\u{2030}\"\\\\]*") {
            let record = Record { target: text.as_bytes(), user_agent: text.as_bytes(), detail: &text, ..full() };
            let line = line_of(&record);
            prop_assert_eq!(line.matches('\n').count(), 1);
            let value: serde_json::Value = serde_json::from_str(&line).unwrap();
            if !text.is_empty() {
                prop_assert_eq!(value["target"].as_str().unwrap(), &text);
                prop_assert_eq!(value["detail"].as_str().unwrap(), &text);
            }
        }
    }
}
