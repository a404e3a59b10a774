//! gRPC-Web bodies in pieces of every size, padded wherever it is allowed, and broken in every way.

use proptest::prelude::*;

use super::*;

/// Decodes a whole body that comes in pieces of this size.
fn decode_in_pieces(text: &[u8], size: usize) -> Result<Vec<u8>, Malformed> {
    let (mut decoder, mut out) = (TextDecoder::default(), Vec::new());
    for piece in text.chunks(size.max(1)) {
        decoder.decode(piece, &mut out)?;
    }
    decoder.finish()?;
    Ok(out)
}

#[test]
fn a_body_is_decoded_whatever_the_pieces() {
    let text = STANDARD.encode(b"hello, gRPC-Web");
    for size in 1..=text.len() {
        assert_eq!(decode_in_pieces(text.as_bytes(), size).unwrap(), b"hello, gRPC-Web", "pieces of {size}");
    }
    assert_eq!(decode_in_pieces(b"", 1).unwrap(), b"");
}

#[test]
fn padding_may_stand_in_the_middle() {
    // "a", "bc" and "def", each encoded on its own.
    let text = b"YQ==YmM=ZGVmZw==";
    for size in 1..=text.len() {
        assert_eq!(decode_in_pieces(text, size).unwrap(), b"abcdefg", "pieces of {size}");
    }
}

#[test]
fn what_is_decoded_is_there_at_once() {
    let (mut decoder, mut out) = (TextDecoder::default(), b"before ".to_vec());
    decoder.decode(b"YWJ", &mut out).unwrap();
    assert_eq!(out, b"before ");
    assert_eq!(decoder.finish(), Err(Malformed));
    decoder.decode(b"jZG", &mut out).unwrap();
    assert_eq!(out, b"before abc");
    decoder.decode(b"Vm", &mut out).unwrap();
    assert_eq!(out, b"before abcdef");
    assert_eq!(decoder.finish(), Ok(()));
}

#[test]
fn what_is_no_base64_is_malformed() {
    for text in [
        "Y",
        "YQ",
        "YQ=",
        "YWJj=",
        "YWJjYQ",
        "====",
        "Y===",
        "=YWJ",
        "YQ=a",
        "YW=j",
        "YR==",     // bits that nothing stands for
        "YWJjYR==", // the same behind a good group
        "YWJ\n",
        "YWJj\r\n",
        " YWJj",
        "YW-_",
        "YWJ\0",
        "YWJ\u{e9}",
    ] {
        for size in 1..=text.len() {
            assert_eq!(
                decode_in_pieces(text.as_bytes(), size),
                Err(Malformed),
                "{text:?} in pieces of {size}"
            );
        }
    }
}

#[test]
fn a_body_is_encoded_whatever_the_pieces() {
    let bytes: Vec<u8> = (0..=255).collect();
    for size in 1..=bytes.len() {
        let (mut encoder, mut out) = (TextEncoder::default(), Vec::new());
        for piece in bytes.chunks(size) {
            encoder.encode(piece, &mut out);
        }
        encoder.finish(&mut out);
        assert_eq!(out, STANDARD.encode(&bytes).as_bytes(), "pieces of {size}");
    }
}

#[test]
fn pieces_that_are_finished_can_be_read_on_their_own() {
    let (mut encoder, mut out) = (TextEncoder::default(), Vec::new());
    encoder.finish(&mut out);
    assert_eq!(out, b"");
    encoder.encode(b"a", &mut out);
    assert_eq!(out, b"");
    encoder.finish(&mut out);
    assert_eq!(out, b"YQ==");
    encoder.encode(b"", &mut out);
    encoder.encode(b"bc", &mut out);
    encoder.finish(&mut out);
    encoder.encode(b"def", &mut out);
    encoder.finish(&mut out);
    assert_eq!(out, b"YQ==YmM=ZGVm");
    assert_eq!(decode_in_pieces(&out, 3).unwrap(), b"abcdef");
}

#[test]
fn trailers_are_a_frame_of_lines() {
    let mut out = b"message".to_vec();
    let fields: [(&str, &[u8]); 3] = [("grpc-status", b"0"), ("Grpc-Message", b""), ("x-bin", b"\xff")];
    trailers_frame(fields.into_iter(), &mut out);
    let lines = b"grpc-status: 0\r\ngrpc-message: \r\nx-bin: \xff\r\n";
    let expected = [b"message\x80\0\0\0".as_slice(), &[lines.len() as u8], lines].concat();
    assert_eq!(out, expected);
}

#[test]
fn no_trailers_are_an_empty_frame() {
    let mut out = Vec::new();
    trailers_frame(std::iter::empty(), &mut out);
    assert_eq!(out, b"\x80\0\0\0\0");
}

#[test]
fn the_length_has_four_bytes_with_the_greatest_first() {
    let value = vec![b'v'; 70_000];
    let mut out = Vec::new();
    trailers_frame([("a", value.as_slice())].into_iter(), &mut out);
    let length = 70_000_u32 + 5;
    assert_eq!((out[0], &out[1..5], out.len()), (0x80, &length.to_be_bytes()[..], 5 + length as usize));
}

#[test]
fn a_field_that_would_break_the_lines_is_left_out() {
    let fields: [(&str, &[u8]); 6] = [
        ("a", b"1\r\ngrpc-status: 0"),
        ("b\n", b"2"),
        ("c", b"\0"),
        ("", b"3"),
        ("d:e", b"4"),
        ("grpc-status", b"14"),
    ];
    let mut out = Vec::new();
    trailers_frame(fields.into_iter(), &mut out);
    assert_eq!(out, b"\x80\0\0\0\x11grpc-status: 14\r\n");
}

proptest! {
    #[test]
    fn text_survives_the_way_there_and_back(
        pieces in proptest::collection::vec((proptest::collection::vec(any::<u8>(), 0..40), any::<bool>()), 0..12),
        size in 1_usize..50,
    ) {
        let (mut encoder, mut text, mut bytes) = (TextEncoder::default(), Vec::new(), Vec::new());
        for (piece, pauses) in &pieces {
            bytes.extend_from_slice(piece);
            encoder.encode(piece, &mut text);
            if *pauses {
                encoder.finish(&mut text);
            }
        }
        encoder.finish(&mut text);
        prop_assert_eq!(decode_in_pieces(&text, size), Ok(bytes));
    }

    #[test]
    fn pieces_make_no_difference(text in "[A-Da-d01+/=]{0,24}", size in 1_usize..8) {
        prop_assert_eq!(decode_in_pieces(text.as_bytes(), size), decode_in_pieces(text.as_bytes(), usize::MAX));
    }

    #[test]
    fn any_bytes_decode_or_not(bytes in proptest::collection::vec(any::<u8>(), 0..64), size in 1_usize..9) {
        if let Ok(out) = decode_in_pieces(&bytes, size) {
            prop_assert!(out.len() <= bytes.len() / 4 * 3);
        }
    }
}
