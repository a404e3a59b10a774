//! The chunked coding, by the letter and with every trick that has been played on it.

use fastrand::Rng;

/// Content in chunks as RFC 9112 section 7.1 has them, some with extensions, leading zeros and trailers.
pub fn encode(content: &[u8], rng: &mut Rng) -> Vec<u8> {
    let mut body = Vec::new();
    let mut rest = content;
    while !rest.is_empty() {
        let (chunk, after) = rest.split_at(rng.usize(1..=rest.len()));
        rest = after;
        let zeros = "0".repeat(if rng.u8(..8) == 0 { rng.usize(1..6) } else { 0 });
        let extension = ["", "", "", "", ";a", ";a=b", "; a=\"b;c\"", ";a=\"\\\"\""][rng.usize(..8)];
        let size = if rng.bool() { format!("{:x}", chunk.len()) } else { format!("{:X}", chunk.len()) };
        body.extend_from_slice(format!("{zeros}{size}{extension}\r\n").as_bytes());
        body.extend_from_slice(chunk);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"0\r\n");
    if rng.u8(..6) == 0 {
        body.extend_from_slice(b"X-Sum: 1\r\n");
    }
    body.extend_from_slice(b"\r\n");
    body
}

/// Ways to write the size of a chunk of five bytes, none of which everybody reads alike.
const SIZES: [&[u8]; 40] = [
    b"0x5",
    b"+5",
    b"-5",
    b" 5",
    b"5 ",
    b"5\t",
    b"\t5",
    b"5\x0b",
    b"5\x0c",
    b"5\0",
    b"\x005",
    b"5_",
    b"0_5",
    b"5.0",
    b"5,",
    b"5x",
    b"g",
    b"",
    b"5\r",
    b"5\n",
    b"5\r\r",
    b"5;a\nb",
    b"5;a\rb",
    b"5;\0",
    b"5 ;a",
    b"5\t;a",
    b"5 a",
    b"5;",
    b"5;;",
    b"5;a=\"\r\n",
    b"5\xc2\xa0",
    b"\xd9\xa5",
    b"10000000000000005",
    b"100000005",
    b"ffffffffffffffff",
    b"fffffffffffffff0",
    b"-1",
    b"80000000000000005",
    b"0000000000000000000000005",
    b"5;0\r\n\r\nGET /hidden HTTP/1.1\r\nX: ",
];

/// Ends of a chunk that are none.
const ENDS: [&[u8]; 8] = [b"\n", b"\r", b"", b"\r\r\n", b"XX", b"\n\r", b" \r\n", b"\0\r\n"];

/// Last chunks that are none, or say too much.
const LAST: [&[u8]; 26] = [
    b"0\r\n",
    b"0\n\n",
    b"0\r\n\n",
    b"0\n\r\n",
    b"0\r\r\n\r\n",
    b"00\r\n\r\n",
    b"0;a\r\n\r\n",
    b"0 \r\n\r\n",
    b"0x0\r\n\r\n",
    b"-0\r\n\r\n",
    b"\r\n\r\n",
    b"0\r\nContent-Length: 9\r\n\r\n",
    b"0\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"0\r\nHost: b\r\n\r\n",
    b"0\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n",
    b"0\r\nX: y\r\n z\r\n\r\n",
    b"0\r\nX : y\r\n\r\n",
    b"0\r\nX: y\n\r\n",
    b"0\r\nX: \0\r\n\r\n",
    b"0\r\nhello\r\n\r\n",
    b"0\r\n: y\r\n\r\n",
    b"0\r\nX: y\rGET /hidden HTTP/1.1\r\n\r\n",
    b"0\r\nGET /hidden HTTP/1.1\r\nHost: a.test\r\n\r\n",
    b"0\r\nX: y\r\n\r\n\r\n",
    b"0\r\n\r\n0\r\n\r\n",
    b"0\r\nConnection: close\r\nUpgrade: x\r\n\r\n",
];

/// Content in chunks of which one thing is wrong.
pub fn trick(rng: &mut Rng, hidden: &[u8]) -> Vec<u8> {
    let plain = b"5\r\nhello\r\n".to_vec();
    let (mut size, mut end, mut last) = (b"5".as_slice(), b"\r\n".as_slice(), b"0\r\n\r\n".as_slice());
    match rng.u8(..3) {
        0 => size = SIZES[rng.usize(..SIZES.len())],
        1 => end = ENDS[rng.usize(..ENDS.len())],
        _ => last = LAST[rng.usize(..LAST.len())],
    }
    let before = if rng.bool() { plain } else { Vec::new() };
    let after = if rng.u8(..4) == 0 { hidden } else { b"" };
    let huge = if rng.u8(..40) == 0 {
        format!("5;{}", "x".repeat(rng.usize(900..20_000))).into_bytes()
    } else {
        size.into()
    };
    [&before, huge.as_slice(), b"\r\n", b"hello", end, last, after].concat()
}
