//! The examples of RFC 7541 appendix C, every error, and properties of the codec as a whole.

use std::sync::LazyLock;

use proptest::prelude::*;

use super::huffman::{self, CODE_LENGTHS, END_OF_STRING, LONGEST_CODE, SYMBOLS};
use super::table::{STATIC, Table, find_name};
use super::*;

type Field<'text> = (&'text str, &'text str);
type OwnedField = (Vec<u8>, Vec<u8>);

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn decode(decoder: &mut Decoder, block: &[u8]) -> Result<Vec<OwnedField>, DecodeError> {
    let mut fields = Vec::new();
    decoder.decode(block, &mut |name, value| fields.push((name.to_vec(), value.to_vec())))?;
    Ok(fields)
}

fn error(hex: &str) -> DecodeError {
    decode(&mut Decoder::new(4096), &bytes(hex)).unwrap_err()
}

fn owned(fields: &[Field<'_>]) -> Vec<OwnedField> {
    fields.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec())).collect()
}

/// Checks the fields of a block, and the dynamic table and its size after it.
#[track_caller]
fn check(decoder: &mut Decoder, hex: &str, fields: &[Field<'_>], table: &[Field<'_>], size: usize) {
    assert_eq!(decode(decoder, &bytes(hex)), Ok(owned(fields)));
    let (content, counted) = decoder.table().content();
    let content: Vec<_> = content.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect();
    assert_eq!((content, counted), (owned(table), size));
}

/// The code of each symbol, made without the tree of the decoder.
static CODES: LazyLock<[u32; SYMBOLS]> = LazyLock::new(|| {
    let mut codes = [0; SYMBOLS];
    let mut code = 0;
    for length in 1..=LONGEST_CODE {
        for symbol in (0..SYMBOLS).filter(|symbol| CODE_LENGTHS[*symbol] == length) {
            codes[symbol] = code;
            code += 1;
        }
        code <<= 1;
    }
    codes
});

/// The string as bits, without padding.
fn huffman_bits(text: &[u8]) -> Vec<bool> {
    let code = |symbol: usize| (0..CODE_LENGTHS[symbol]).rev().map(move |bit| CODES[symbol] >> bit & 1 == 1);
    text.iter().flat_map(|byte| code(usize::from(*byte))).collect()
}

fn pack(mut bits: Vec<bool>) -> Vec<u8> {
    bits.resize(bits.len().next_multiple_of(8), true);
    bits.chunks(8).map(|byte| byte.iter().fold(0, |sum, bit| sum << 1 | u8::from(*bit))).collect()
}

/// A block with one literal that is not indexed, with a plain name and these bytes as Huffman-coded value.
fn with_huffman_value(coded: &[u8]) -> Vec<u8> {
    let mut block = vec![0x00, 1, b'a', 0x80 | u8::try_from(coded.len()).unwrap()];
    block.extend_from_slice(coded);
    block
}

fn huffman_error(coded: &[u8]) -> DecodeError {
    decode(&mut Decoder::new(4096), &with_huffman_value(coded)).unwrap_err()
}

#[test]
fn integers_of_appendix_c1() {
    // 10 and 1337 with a prefix of five bits, 42 with one of eight; here as the sizes of updates.
    let mut decoder = Decoder::new(1337);
    assert_eq!(decode(&mut decoder, &bytes("2a")), Ok(vec![]));
    assert_eq!(decoder.table().limit(), 10);
    assert_eq!(decode(&mut decoder, &bytes("3f9a0a")), Ok(vec![]));
    assert_eq!(decoder.table().limit(), 1337);
    assert_eq!(decode(&mut decoder, &bytes("3f0b")), Ok(vec![]));
    assert_eq!(decoder.table().limit(), 42);
}

#[test]
fn representations_of_appendix_c2() {
    let custom = [("custom-key", "custom-header")];
    check(
        &mut Decoder::new(4096),
        "400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572",
        &custom,
        &custom,
        55,
    );
    let path = [(":path", "/sample/path")];
    check(&mut Decoder::new(4096), "040c 2f73 616d 706c 652f 7061 7468", &path, &[], 0);
    let password = [("password", "secret")];
    check(&mut Decoder::new(4096), "1008 7061 7373 776f 7264 0673 6563 7265 74", &password, &[], 0);
    check(&mut Decoder::new(4096), "82", &[(":method", "GET")], &[], 0);
}

/// The three requests of C.3 and C.4.
fn check_requests(blocks: [&str; 3]) {
    let mut decoder = Decoder::new(4096);
    let authority = (":authority", "www.example.com");
    let no_cache = ("cache-control", "no-cache");
    let custom = ("custom-key", "custom-value");
    let first = [(":method", "GET"), (":scheme", "http"), (":path", "/"), authority];
    check(&mut decoder, blocks[0], &first, &[authority], 57);
    let second = [(":method", "GET"), (":scheme", "http"), (":path", "/"), authority, no_cache];
    check(&mut decoder, blocks[1], &second, &[no_cache, authority], 110);
    let third = [(":method", "GET"), (":scheme", "https"), (":path", "/index.html"), authority, custom];
    check(&mut decoder, blocks[2], &third, &[custom, no_cache, authority], 164);
}

#[test]
fn requests_of_appendix_c3() {
    check_requests([
        "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        "8286 84be 5808 6e6f 2d63 6163 6865",
        "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
    ]);
}

#[test]
fn requests_of_appendix_c4() {
    check_requests([
        "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
        "8286 84be 5886 a8eb 1064 9cbf",
        "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
    ]);
}

/// The three responses of C.5 and C.6, with a table of 256 bytes that must evict.
fn check_responses(blocks: [&str; 3]) {
    let mut decoder = Decoder::new(256);
    let private = ("cache-control", "private");
    let date = ("date", "Mon, 21 Oct 2013 20:13:21 GMT");
    let later = ("date", "Mon, 21 Oct 2013 20:13:22 GMT");
    let location = ("location", "https://www.example.com");
    let gzip = ("content-encoding", "gzip");
    let cookie = ("set-cookie", "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1");
    let first = [(":status", "302"), private, date, location];
    check(&mut decoder, blocks[0], &first, &[location, date, private, (":status", "302")], 222);
    let second = [(":status", "307"), private, date, location];
    check(&mut decoder, blocks[1], &second, &[(":status", "307"), location, date, private], 222);
    let third = [(":status", "200"), private, later, location, gzip, cookie];
    check(&mut decoder, blocks[2], &third, &[cookie, gzip, later], 215);
}

#[test]
fn responses_of_appendix_c5() {
    check_responses([
        "4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32
         3120 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        "4803 3330 37c1 c0bf",
        "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04 677a 6970
         7738 666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49 553b 206d 6178 2d61
         6765 3d33 3630 303b 2076 6572 7369 6f6e 3d31",
    ]);
}

#[test]
fn responses_of_appendix_c6() {
    check_responses([
        "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad
         1718 63c7 8f0b 97c8 e9ae 82ae 43d3",
        "4883 640e ffc1 c0bf",
        "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2
         e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07",
    ]);
}

#[test]
fn an_index_must_exist() {
    assert_eq!(error("80"), DecodeError::ZeroIndex);
    assert_eq!(error("be"), DecodeError::IndexBeyondTables);
    assert_eq!(error("ffffffff0f"), DecodeError::IndexBeyondTables);
    // As names: index 62 in an indexed literal and in another.
    assert_eq!(error("7e0161"), DecodeError::IndexBeyondTables);
    assert_eq!(error("0f2f0161"), DecodeError::IndexBeyondTables);
    // One entry, of which the second is asked for.
    check(&mut Decoder::new(4096), "4001610162be", &[("a", "b"), ("a", "b")], &[("a", "b")], 34);
    assert_eq!(error("4001610162bf"), DecodeError::IndexBeyondTables);
}

#[test]
fn an_integer_has_at_most_32_bits_and_five_continuation_bytes() {
    assert_eq!(error("ff8080808010"), DecodeError::IntegerTooLarge);
    assert_eq!(error("ff808080808000"), DecodeError::IntegerTooLarge);
    assert_eq!(error("ffffffffffffffffffffff7f"), DecodeError::IntegerTooLarge);
    // 2^32 - 1 is read, but no table has that index; and zeros in front of the end are allowed.
    assert_eq!(error("ff80ffffff0f"), DecodeError::IndexBeyondTables);
    let block = bytes("0f80808080000161");
    assert_eq!(decode(&mut Decoder::new(4096), &block), Ok(owned(&[("accept-charset", "a")])));
}

#[test]
fn a_block_must_not_end_inside_a_field() {
    for hex in ["ff", "ff80", "40", "4001", "400161", "00", "0f", "1000", "3f", "04", "0401"] {
        let expected = match hex {
            "4001" | "0401" => DecodeError::StringBeyondBlock,
            _ => DecodeError::Truncated,
        };
        assert_eq!(error(hex), expected, "{hex}");
    }
    assert_eq!(error("000561626364"), DecodeError::StringBeyondBlock);
    assert_eq!(error("00016185ffff"), DecodeError::StringBeyondBlock);
    assert_eq!(error("007fffffffff0e61"), DecodeError::StringBeyondBlock);
}

#[test]
fn huffman_padding_is_at_most_seven_ones() {
    // "0" is five zeros.
    let decoded = |coded: &[u8]| decode(&mut Decoder::new(4096), &with_huffman_value(coded));
    assert_eq!(decoded(&[0x07]), Ok(owned(&[("a", "0")])));
    assert_eq!(decoded(&[]), Ok(owned(&[("a", "")])));
    assert_eq!(huffman_error(&[0x06]), DecodeError::HuffmanPaddingNotOnes);
    assert_eq!(huffman_error(&[0x00]), DecodeError::HuffmanPaddingNotOnes);
    // A code of 30 bits that is cut off: ones, and a zero among the last.
    assert_eq!(huffman_error(&[0xff, 0xff, 0xff, 0xe0]), DecodeError::HuffmanPaddingNotOnes);
    assert_eq!(huffman_error(&[0x07, 0xff]), DecodeError::HuffmanPaddingTooLong);
    assert_eq!(huffman_error(&[0xff]), DecodeError::HuffmanPaddingTooLong);
    assert_eq!(huffman_error(&[0xff, 0xff, 0xff]), DecodeError::HuffmanPaddingTooLong);
    // "&" has eight bits, so a whole byte of padding follows.
    let mut bits = huffman_bits(b"&&");
    bits.extend([true; 8]);
    assert_eq!(huffman_error(&pack(bits)), DecodeError::HuffmanPaddingTooLong);
}

#[test]
fn the_end_of_string_symbol_is_an_error_anywhere() {
    for before in [&b""[..], b"0", b"&", b"text", b"\x00"] {
        for after in [&b""[..], b"0", b"text"] {
            let mut bits = huffman_bits(before);
            bits.extend([true; LONGEST_CODE as usize]);
            bits.extend(huffman_bits(after));
            assert_eq!(huffman_error(&pack(bits)), DecodeError::HuffmanEndOfString);
        }
    }
    assert_eq!(CODES[END_OF_STRING], (1 << LONGEST_CODE) - 1);
}

#[test]
fn every_byte_value_survives_huffman_coding() {
    let mut out = Vec::new();
    for byte in 0..=255 {
        let text = [byte, byte];
        let end = huffman::decode(&pack(huffman_bits(&text)), &mut out, 0).unwrap();
        assert_eq!(out[..end], text);
    }
    let all: Vec<u8> = (0..=255).collect();
    out = b"kept and more".to_vec();
    let end = huffman::decode(&pack(huffman_bits(&all)), &mut out, 4).unwrap();
    assert_eq!((&out[..4], &out[4..end]), (&b"kept"[..], &all[..]));
}

#[test]
fn size_updates_begin_a_block_and_keep_to_the_limit() {
    assert_eq!(error("3fe21f"), DecodeError::SizeUpdateTooLarge);
    assert_eq!(error("8220"), DecodeError::SizeUpdateAfterField);
    assert_eq!(error("202020"), DecodeError::TooManySizeUpdates);
    let mut decoder = Decoder::new(4096);
    check(&mut decoder, "20 3fe11f 4001610162", &[("a", "b")], &[("a", "b")], 34);
    // 33 bytes leave no room for the entry, nor for another like it; 34 do.
    check(&mut decoder, "3f02", &[], &[], 0);
    check(&mut decoder, "4001610162", &[("a", "b")], &[], 0);
    check(&mut decoder, "3f03 4001610162", &[("a", "b")], &[("a", "b")], 34);
    check(&mut decoder, "20", &[], &[], 0);
    assert_eq!(decoder.table().memory(), 0);
}

#[test]
fn an_entry_larger_than_the_table_empties_it() {
    let mut decoder = Decoder::new(40);
    check(&mut decoder, "4001610162", &[("a", "b")], &[("a", "b")], 34);
    // Its name is that of the entry which goes.
    check(&mut decoder, "7e08 6363636363636363", &[("a", "cccccccc")], &[], 0);
    check(&mut decoder, "7d01 62", &[("www-authenticate", "b")], &[], 0);
}

#[test]
fn an_entry_can_take_its_name_from_the_one_it_evicts() {
    let mut decoder = Decoder::new(40);
    check(&mut decoder, "4001610162", &[("a", "b")], &[("a", "b")], 34);
    check(&mut decoder, "7e0163", &[("a", "c")], &[("a", "c")], 34);
}

#[test]
fn the_dynamic_table_takes_no_memory_without_entries_and_little_with_them() {
    let mut table = Table::new(4096);
    assert_eq!(table.memory(), 0);
    let value = [b'v'; 100];
    for round in 0..2_000_usize {
        let name = format!("name-{round}");
        table.insert(name.as_bytes(), &value[..round % 100]);
        table.insert_with_name_of(70.min(61 + table.content().0.len()), b"again").unwrap();
        assert!(table.memory() < 4 * 4096, "{}", table.memory());
        let (content, size) = table.content();
        assert_eq!(content.iter().map(|(name, value)| name.len() + value.len() + 32).sum::<usize>(), size);
        assert!(size <= 4096);
        assert_eq!(content[1].0, name.as_bytes());
    }
}

#[test]
fn names_of_the_static_table_are_found_in_any_case() {
    for (name, _) in STATIC {
        let first = STATIC.iter().position(|(other, _)| *other == name).unwrap() + 1;
        assert_eq!(find_name(name), Some(first));
        assert_eq!(find_name(&name.to_ascii_uppercase()), Some(first));
        assert_eq!(find_name(&[name, b"s"].concat()), None);
    }
    assert_eq!(find_name(b""), None);
    assert_eq!(find_name(b"x-request-id"), None);
}

fn encoded(name: &str, value: &str) -> Vec<u8> {
    let mut out = Vec::new();
    Encoder::new().field(&mut out, name.as_bytes(), value.as_bytes());
    out
}

#[test]
fn the_encoder_uses_the_static_table() {
    for (index, (name, value)) in STATIC.iter().enumerate() {
        let out = encoded(std::str::from_utf8(name).unwrap(), std::str::from_utf8(value).unwrap());
        match index + 1 {
            23 | 32 | 49 | 55 => assert_eq!(out[0] & 0xf0, 0x10),
            index => assert_eq!(out, [0x80 | u8::try_from(index).unwrap()]),
        }
    }
    assert_eq!(encoded(":path", "/sample/path"), bytes("040c 2f73 616d 706c 652f 7061 7468"));
    assert_eq!(encoded("Via", "x"), bytes("0f2d 0178"));
    assert_eq!(encoded("X-A", "b"), bytes("00 03 782d61 0162"));
}

#[test]
fn fields_with_secrets_are_never_indexed() {
    assert_eq!(encoded("Authorization", "a"), bytes("1f08 0161"));
    assert_eq!(encoded("cookie", "a"), bytes("1f11 0161"));
    assert_eq!(encoded("Set-Cookie", "a"), bytes("1f28 0161"));
    assert_eq!(encoded("PROXY-AUTHORIZATION", "a"), bytes("1f22 0161"));
}

#[test]
fn a_status_is_indexed_where_the_static_table_has_it() {
    let mut decoder = Decoder::new(4096);
    for status in 100..=999 {
        let mut out = Vec::new();
        Encoder::new().status(&mut out, status);
        let indexed = [200, 204, 206, 304, 400, 404, 500].contains(&status);
        assert_eq!(out.len(), if indexed { 1 } else { 5 });
        assert_eq!(decode(&mut decoder, &out), Ok(owned(&[(":status", &status.to_string())])));
    }
}

#[test]
fn the_encoder_follows_a_smaller_table_once() {
    let begin = |encoder: &mut Encoder| {
        let mut out = Vec::new();
        encoder.begin(&mut out);
        out
    };
    let mut encoder = Encoder::new();
    assert_eq!(begin(&mut encoder), b"");
    encoder.set_table_size(4096);
    encoder.set_table_size(65_536);
    assert_eq!(begin(&mut encoder), b"");
    // Up again before the next block: the smaller one was valid in between.
    encoder.set_table_size(100);
    encoder.set_table_size(4096);
    assert_eq!(begin(&mut encoder), [0x20]);
    encoder.set_table_size(0);
    assert_eq!(begin(&mut encoder), b"");
}

fn any_name() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::sample::select(STATIC.map(|(name, _)| name.to_vec()).to_vec()),
        prop::sample::select(STATIC.map(|(name, _)| name.to_ascii_uppercase()).to_vec()),
        prop::collection::vec(any::<u8>(), 0..300),
    ]
}

fn any_value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::sample::select(STATIC.map(|(_, value)| value.to_vec()).to_vec()),
        prop::collection::vec(any::<u8>(), 0..700),
    ]
}

/// One field, as bytes that more often than not can be decoded.
fn any_piece() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => (0x80..=0xff_u8).prop_map(|index| vec![index]),
        4 => ("[a-z]{1,9}", "[ -~]{0,60}").prop_map(|(name, value)| {
            let (name, value) = (pack(huffman_bits(name.as_bytes())), pack(huffman_bits(value.as_bytes())));
            let length = |coded: &[u8]| vec![0x80 | coded.len() as u8];
            [vec![0x40], length(&name), name, length(&value), value].concat()
        }),
        2 => (0x41..0x7f_u8, "[ -~]{0,60}").prop_map(|(name, value)| {
            [&[name, value.len() as u8], value.as_bytes()].concat()
        }),
        1 => prop::collection::vec(any::<u8>(), 0..8),
    ]
}

proptest! {
    #[test]
    fn what_the_encoder_writes_the_decoder_reads(
        blocks in prop::collection::vec(prop::collection::vec((any_name(), any_value()), 0..8), 1..4),
        size in any::<u32>(),
    ) {
        let mut encoder = Encoder::new();
        let mut decoder = Decoder::new(4096);
        encoder.set_table_size(size);
        for fields in blocks {
            let mut block = Vec::new();
            encoder.begin(&mut block);
            for (name, value) in &fields {
                encoder.field(&mut block, name, value);
            }
            let lower = fields.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value));
            prop_assert_eq!(decode(&mut decoder, &block), Ok(lower.collect()));
        }
    }

    #[test]
    fn any_text_survives_huffman_coding(text in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut out = Vec::new();
        let end = huffman::decode(&pack(huffman_bits(&text)), &mut out, 0).unwrap();
        prop_assert_eq!(&out[..end], &text);
    }

    #[test]
    fn whatever_comes_is_decoded_within_bounds(
        blocks in prop::collection::vec(
            prop_oneof![
                prop::collection::vec(any::<u8>(), 0..400),
                prop::collection::vec(any_piece(), 0..60).prop_map(|pieces| pieces.concat()),
            ],
            1..6,
        ),
        table_size in 0..600_usize,
    ) {
        let mut decoder = Decoder::new(table_size);
        for block in blocks {
            let (mut count, mut longest) = (0, 0);
            let result = decoder.decode(&block, &mut |name, value| {
                count += 1;
                longest = longest.max(name.len() + value.len());
            });
            // A field takes a byte at least. It is in a table or comes from the block, by 8/5 longer at most.
            prop_assert!(count <= block.len());
            prop_assert!(longest <= table_size + 2 * block.len() + 30);
            let (content, size) = decoder.table().content();
            prop_assert!(size <= table_size);
            let counted: usize = content.iter().map(|(name, value)| name.len() + value.len() + 32).sum();
            prop_assert_eq!(counted, size);
            prop_assert!(decoder.table().memory() <= 4 * (table_size + 512));
            if result.is_err() {
                break;
            }
        }
    }
}
