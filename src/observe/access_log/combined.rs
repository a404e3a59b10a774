//! A record as one line of the combined format of Apache and nginx:
//! `client - - [time] "method target version" status body-bytes "referer" "user agent"`.

use super::json::{TEXT_LIMIT, push_ip};
use super::stamp::Stamp;
use crate::observe::Record;

/// Appends the line.
pub fn write(line: &mut Vec<u8>, stamp: &mut Stamp, record: &Record<'_>) {
    match record.client {
        Some(client) => push_ip(line, client),
        None => line.push(b'-'),
    }
    line.extend_from_slice(b" - - ");
    line.extend_from_slice(stamp.of(record.time, "[%d/%b/%Y:%H:%M:%S +0000]").as_bytes());
    line.extend_from_slice(b" \"");
    if record.method.is_empty() {
        line.push(b'-');
    } else {
        push_escaped(line, record.method);
        line.push(b' ');
        push_escaped(line, record.target);
        line.push(b' ');
        push_escaped(line, record.version.as_bytes());
    }
    line.extend_from_slice(b"\" ");
    match record.status {
        Some(status) => line.extend_from_slice(itoa::Buffer::new().format(status).as_bytes()),
        None => line.push(b'-'),
    }
    line.push(b' ');
    line.extend_from_slice(itoa::Buffer::new().format(record.body_out).as_bytes());
    for text in [record.referer, record.user_agent] {
        line.extend_from_slice(b" \"");
        push_escaped(line, if text.is_empty() { b"-" } else { text });
        line.push(b'"');
    }
    line.push(b'\n');
}

/// As nginx does: quotes, backslashes, control characters and everything above ASCII as `\xHH`.
fn push_escaped(line: &mut Vec<u8>, text: &[u8]) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for &byte in text.get(..TEXT_LIMIT).unwrap_or(text) {
        if matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\' {
            line.push(byte);
        } else {
            let digits = [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 0xf)]];
            line.extend_from_slice(&[b'\\', b'x', digits[0], digits[1]]);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn line_of(record: &Record<'_>) -> String {
        let mut line = Vec::new();
        write(&mut line, &mut Stamp::default(), record);
        String::from_utf8(line).unwrap()
    }

    #[test]
    fn it_is_the_line_that_apache_and_nginx_write() {
        let record = Record {
            time: Duration::from_secs(971_186_136),
            client: Some("127.0.0.1".parse().unwrap()),
            method: b"GET",
            target: b"/apache_pb.gif",
            version: "HTTP/1.0",
            status: Some(200),
            body_out: 2326,
            bytes_out: 2600,
            referer: b"http://www.example.com/start.html",
            user_agent: b"Mozilla/4.08 [en] (Win98; I ;Nav)",
            ..Record::default()
        };
        assert_eq!(
            line_of(&record),
            "127.0.0.1 - - [10/Oct/2000:13:55:36 +0000] \"GET /apache_pb.gif HTTP/1.0\" 200 2326 \
             \"http://www.example.com/start.html\" \"Mozilla/4.08 [en] (Win98; I ;Nav)\"\n"
        );
        let nothing = Record { status: Some(408), ..Record::default() };
        assert_eq!(line_of(&nothing), "- - - [01/Jan/1970:00:00:00 +0000] \"-\" 408 0 \"-\" \"-\"\n");
    }

    #[test]
    fn a_forged_line_stays_inside_its_quotes() {
        let record = Record { user_agent: b"x\" 200\n\\1.2.3.4 \xc3\xa9", ..Record::default() };
        assert!(line_of(&record).ends_with("\"x\\x22 200\\x0A\\x5C1.2.3.4 \\xC3\\xA9\"\n"));
    }

    proptest! {
        #[test]
        fn any_bytes_become_one_line_with_six_quotes(bytes in any::<Vec<u8>>()) {
            let record =
                Record { method: b"GET", target: &bytes, referer: &bytes, user_agent: &bytes, ..Record::default() };
            let line = line_of(&record);
            prop_assert_eq!(line.matches('"').count(), 6);
            prop_assert_eq!(line.matches('\n').count(), 1);
            prop_assert!(line.bytes().all(|byte| byte == b'\n' || matches!(byte, b' '..=b'~')));
        }
    }
}
