//! The PROXY header: a table of both versions, what splits cannot change, and reading from a connection.

use super::*;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn v2(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let mut bytes = SIGNATURE.to_vec();
    bytes.extend([command, family]);
    bytes.extend(u16::try_from(block.len()).unwrap().to_be_bytes());
    bytes.extend(block);
    bytes
}

fn inet4() -> Vec<u8> {
    vec![10, 0, 0, 1, 10, 0, 0, 2, 0x30, 0x39, 0x01, 0xbb]
}

fn inet(source: &str, destination: &str) -> Header {
    Header::Inet { source: source.parse().unwrap(), destination: destination.parse().unwrap() }
}

#[test]
fn lines_of_version_1() {
    use ProxyHeaderError as E;
    let longest = "PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe 65535 65534\r\n";
    let unknown = format!("PROXY UNKNOWN {}\r\n", "x".repeat(107 - 16));
    let table: Vec<(&str, Result<Header, E>)> = vec![
        ("PROXY TCP4 10.0.0.1 10.0.0.2 12345 443\r\n", Ok(inet("10.0.0.1:12345", "10.0.0.2:443"))),
        ("PROXY TCP6 2001:db8::1 ::1 1 2\r\n", Ok(inet("[2001:db8::1]:1", "[::1]:2"))),
        ("PROXY TCP6 ::ffff:10.0.0.1 ::1 0 2\r\n", Ok(inet("10.0.0.1:0", "[::1]:2"))),
        ("PROXY UNKNOWN\r\n", Ok(Header::Unchanged)),
        ("PROXY UNKNOWN ffff::1 whatever\r\n", Ok(Header::Unchanged)),
        (&unknown, Ok(Header::Unchanged)),
        ("PROXY TCP4 10.0.0.1 10.0.0.2 12345 443\n", Err(E::BadLine)),
        ("PROXY TCP4 10.0.0.1 10.0.0.2 12345 443\rx", Err(E::BadLine)),
        ("PROXY TCP4 10.0.0.1 10.0.0.2 12345\r\n", Err(E::BadLine)),
        ("PROXY TCP4 10.0.0.1 10.0.0.2 12345 443 \r\n", Err(E::BadLine)),
        ("PROXY TCP4  10.0.0.1 10.0.0.2 1 2\r\n", Err(E::BadLine)),
        ("PROXY  TCP4 10.0.0.1 10.0.0.2 1 2\r\n", Err(E::BadLine)),
        ("PROXY UDP4 10.0.0.1 10.0.0.2 1 2\r\n", Err(E::BadLine)),
        ("PROXY tcp4 10.0.0.1 10.0.0.2 1 2\r\n", Err(E::BadLine)),
        ("PROXY UNKNOWNX\r\n", Err(E::BadLine)),
        ("PROXY \r\n", Err(E::BadLine)),
        ("PROXY TCP4 ::1 ::1 1 2\r\n", Err(E::BadAddress)),
        ("PROXY TCP6 10.0.0.1 10.0.0.2 1 2\r\n", Err(E::BadAddress)),
        ("PROXY TCP4 010.0.0.1 10.0.0.2 1 2\r\n", Err(E::BadAddress)),
        ("PROXY TCP4 10.0.0.1 10.0.0.2 01 2\r\n", Err(E::BadAddress)),
        ("PROXY TCP4 10.0.0.1 10.0.0.2 +1 2\r\n", Err(E::BadAddress)),
        ("PROXY TCP4 10.0.0.1 10.0.0.2 65536 2\r\n", Err(E::BadAddress)),
        ("PROXY TCP4 10.0.0.1 10.0.0.2 1 \r\n", Err(E::BadAddress)),
        ("GET / HTTP/1.1\r\n", Err(E::NotThere)),
        ("PROXX", Err(E::NotThere)),
        ("\r\n\r\nx", Err(E::NotThere)),
    ];
    assert_eq!((longest.len(), unknown.len()), (104, 107));
    assert!(matches!(parse(longest.as_bytes()), Ok(Some((Header::Inet { .. }, 104)))));
    for (line, expected) in table {
        let parsed = parse(line.as_bytes()).map(|found| found.unwrap());
        assert_eq!(parsed, expected.map(|header| (header, line.len())), "{line:?}");
    }
    let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(107 - 15));
    assert_eq!(parse(long.as_bytes()), Err(E::TooLong));
    assert_eq!(parse(&long.as_bytes()[..106]), Ok(None));
}

#[test]
fn blocks_of_version_2() {
    use ProxyHeaderError as E;
    let mut inet6 = [0; 36];
    inet6[15] = 1;
    inet6[16..28].copy_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff]);
    inet6[28..32].copy_from_slice(&[10, 0, 0, 2]);
    inet6[33] = 7;
    inet6[35] = 8;
    let with = |tail: &[u8]| [inet4(), tail.to_vec()].concat();
    let table: Vec<(Vec<u8>, Result<Header, E>)> = vec![
        (v2(0x21, 0x11, &inet4()), Ok(inet("10.0.0.1:12345", "10.0.0.2:443"))),
        (v2(0x21, 0x21, &inet6), Ok(inet("[::1]:7", "10.0.0.2:8"))),
        (v2(0x21, 0x31, &[b'/'; 216]), Ok(Header::Unix)),
        (v2(0x21, 0x00, &[]), Ok(Header::Unchanged)),
        (v2(0x20, 0x00, &[]), Ok(Header::Unchanged)),
        (v2(0x20, 0xff, b"whatever"), Ok(Header::Unchanged)),
        (v2(0x21, 0x11, &with(&[4, 0, 2, 0, 0, 0xea, 0, 1, 7])), Ok(inet("10.0.0.1:12345", "10.0.0.2:443"))),
        (v2(0x21, 0x11, &with(&[0; 4084])), Err(E::BadExtension)),
        (v2(0x21, 0x11, &with(&[4, 0])), Err(E::BadExtension)),
        (v2(0x21, 0x11, &with(&[4, 0, 2, 0])), Err(E::BadExtension)),
        (v2(0x21, 0x11, &with(&[3, 0, 2, 0, 0])), Err(E::BadExtension)),
        (v2(0x21, 0x11, &with(&[3, 0, 4, 0, 0, 0, 0])), Err(E::Checksum)),
        (v2(0x21, 0x11, &inet4()[..11]), Err(E::TooShort)),
        (v2(0x21, 0x21, &inet4()), Err(E::TooShort)),
        (v2(0x21, 0x31, &inet4()), Err(E::TooShort)),
        (v2(0x21, 0x12, &inet4()), Err(E::Family(0x12))),
        (v2(0x21, 0x41, &inet4()), Err(E::Family(0x41))),
        (v2(0x11, 0x11, &inet4()), Err(E::Version(1))),
        (v2(0x22, 0x11, &inet4()), Err(E::Command(2))),
        (v2(0x20, 0x00, &[0; 4097]), Err(E::TooLong)),
    ];
    for (bytes, expected) in table {
        let parsed = parse(&bytes).map(|found| found.unwrap());
        assert_eq!(parsed, expected.map(|header| (header, bytes.len())), "{:?}", &bytes[12..]);
    }
}

#[test]
fn a_right_checksum_is_accepted_and_any_flipped_bit_noticed() {
    let mut bytes = v2(0x21, 0x11, &[inet4(), vec![4, 0, 1, 9, 3, 0, 4, 0, 0, 0, 0, 5, 0, 1, 9]].concat());
    let at = bytes.len() - 8;
    let mut crc = Crc32c::new();
    crc.add(&bytes);
    bytes[at..at + 4].copy_from_slice(&crc.sum().to_be_bytes());
    assert!(matches!(parse(&bytes), Ok(Some((Header::Inet { .. }, _)))));
    for bit in FIXED_V2 * 8..(FIXED_V2 + 12) * 8 {
        let mut wrong = bytes.clone();
        wrong[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(parse(&wrong), Err(ProxyHeaderError::Checksum), "{bit}");
    }
    // The check value of RFC 3720 appendix B.4.
    let mut zeros = Crc32c::new();
    zeros.add(&[0; 32]);
    assert_eq!(zeros.sum().to_le_bytes(), [0xaa, 0x36, 0x91, 0x8a]);
}

/// Bytes that are a header, nearly one, or anything.
fn candidates() -> impl Strategy<Value = Vec<u8>> {
    let line = "PROXY (TCP4|TCP6|UNKNOWN) ?[0-9a-f:. ]{0,110}\r?\n?.{0,5}".prop_map(String::into_bytes);
    let good =
        (any::<[u8; 4]>(), any::<[u8; 4]>(), any::<[u16; 2]>()).prop_map(|(source, destination, ports)| {
            let (source, destination) = (Ipv4Addr::from(source), Ipv4Addr::from(destination));
            format!("PROXY TCP4 {source} {destination} {} {}\r\nGET", ports[0], ports[1]).into_bytes()
        });
    let block = (0x1f..=0x23u8, any::<u8>(), proptest::collection::vec(any::<u8>(), 0..300)).prop_map(
        |(command, family, block)| v2(command, [family, 0x11, 0x21, 0x31][family as usize % 4], &block),
    );
    prop_oneof![line, good, block, proptest::collection::vec(any::<u8>(), 0..200)]
}

proptest! {
    #[test]
    fn no_bytes_panic_and_no_split_changes_the_outcome(bytes in candidates()) {
        let whole = parse(&bytes);
        for end in 0..bytes.len() {
            match parse(&bytes[..end]) {
                Ok(None) => {}
                // Decided early: then more bytes change nothing.
                decided => prop_assert_eq!(decided, whole),
            }
        }
        if let Ok(Some((_, length))) = whole {
            prop_assert!(length <= bytes.len());
            prop_assert_eq!(parse(&bytes[..length]), whole);
        }
    }

    #[test]
    fn a_header_is_never_waited_for_beyond_its_bound(bytes in candidates()) {
        let long = [bytes, vec![b'x'; FIXED_V2 + MAX_V2]].concat();
        prop_assert!(parse(&long) != Ok(None));
    }
}

#[tokio::test]
async fn bytes_behind_the_header_come_with_the_next_read() {
    let header = v2(0x21, 0x11, &inet4());
    for split in 1..header.len() {
        let (ours, theirs) = tokio::net::UnixStream::pair().unwrap();
        let (mut ours, mut theirs): (Transport, Transport) = (ours.into(), theirs.into());
        let write = async {
            theirs.write_all(&header[..split]).await.unwrap();
            tokio::task::yield_now().await;
            theirs.write_all(&header[split..]).await.unwrap();
            theirs.write_all(b"GET / ").await.unwrap();
        };
        let (read, ()) = tokio::join!(read_header(&mut ours), write);
        assert_eq!(read.unwrap(), inet("10.0.0.1:12345", "10.0.0.2:443"));
        theirs.write_all(b"HTTP").await.unwrap();
        let mut rest = [0; 10];
        ours.read_exact(&mut rest).await.unwrap();
        assert_eq!(&rest, b"GET / HTTP");
    }
}

#[tokio::test]
async fn a_peer_that_closes_is_told_from_one_that_talks_nonsense() {
    let table: [(&[u8], &str); 4] = [
        (b"", "silent"),
        (b"PROXY TCP4 10.0", "client_closed"),
        (b"GET / HTTP/1.1\r\n", "no_proxy_header"),
        (b"PROXY TCP4 x\r\n", "bad_proxy_header"),
    ];
    for (bytes, label) in table {
        let (ours, theirs) = tokio::net::UnixStream::pair().unwrap();
        let (mut ours, mut theirs): (Transport, Transport) = (ours.into(), theirs.into());
        theirs.write_all(bytes).await.unwrap();
        theirs.shutdown().await.unwrap();
        assert_eq!(read_header(&mut ours).await.unwrap_err().label(), label);
    }
}
