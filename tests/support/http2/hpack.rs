//! Just enough HPACK (RFC 7541): plain literals out; static indexes and plain literals in, anything else is an error.

/// A block of literals that are not indexed and not Huffman-coded.
pub fn encode<N: AsRef<[u8]>, V: AsRef<[u8]>>(fields: &[(N, V)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name.as_ref(), value.as_ref()] {
            write_length(&mut block, text.len());
            block.extend_from_slice(text);
        }
    }
    block
}

/// An integer with a prefix of seven bits (RFC 7541 section 5.1).
fn write_length(block: &mut Vec<u8>, length: usize) {
    if length < 127 {
        block.push(length as u8);
        return;
    }
    block.push(127);
    let mut rest = length - 127;
    while rest >= 128 {
        block.push((rest % 128) as u8 | 128);
        rest /= 128;
    }
    block.push(rest as u8);
}

/// The fields of a block; text is Latin-1, so that every byte is kept as one char.
pub fn decode(block: &[u8]) -> Result<Vec<(String, String)>, String> {
    let mut reader = Reader { rest: block };
    let mut fields: Vec<(String, String)> = Vec::new();
    while let Some(first) = reader.rest.first().copied() {
        let name = match first {
            0x80.. => {
                let (name, value) = entry(reader.integer(7)?)?;
                fields.push((name.to_owned(), value.to_owned()));
                continue;
            }
            0x40.. => return Err("a literal for the dynamic table, which Lintel does not use".into()),
            0x20.. if fields.is_empty() => {
                reader.integer(5)?;
                continue;
            }
            0x20.. => return Err("a change of the table's size inside a block".into()),
            _ => match reader.integer(4)? {
                0 => reader.text()?,
                index => entry(index)?.0.to_owned(),
            },
        };
        fields.push((name, reader.text()?));
    }
    Ok(fields)
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl Reader<'_> {
    fn byte(&mut self) -> Result<u8, String> {
        let (first, rest) = self.rest.split_first().ok_or("a block that ends inside a field")?;
        self.rest = rest;
        Ok(*first)
    }

    /// An integer with a prefix of so many bits; the bits before it do not count.
    fn integer(&mut self, prefix: u32) -> Result<usize, String> {
        let most = (1usize << prefix) - 1;
        let mut number = usize::from(self.byte()?) & most;
        if number < most {
            return Ok(number);
        }
        for shift in [0, 7, 14, 21] {
            let byte = usize::from(self.byte()?);
            number += (byte & 127) << shift;
            if byte < 128 {
                return Ok(number);
            }
        }
        Err("an integer that is too long".into())
    }

    fn text(&mut self) -> Result<String, String> {
        if self.rest.first().is_some_and(|first| *first >= 128) {
            return Err("a Huffman-coded string, which Lintel does not send".into());
        }
        let length = self.integer(7)?;
        if length > self.rest.len() {
            return Err("a string that is longer than its block".into());
        }
        let (text, rest) = self.rest.split_at(length);
        self.rest = rest;
        Ok(text.iter().map(|byte| char::from(*byte)).collect())
    }
}

fn entry(index: usize) -> Result<(&'static str, &'static str), String> {
    let found = index.checked_sub(1).and_then(|index| STATIC.get(index));
    found.copied().ok_or_else(|| format!("index {index}, which is not of the static table"))
}

/// The static table (RFC 7541 appendix A).
const STATIC: [(&str, &str); 61] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_of_every_length_come_back() {
        for length in [0, 1, 126, 127, 128, 254, 255, 16_383, 16_384, 100_000] {
            let value = "v".repeat(length);
            let fields = [("name", value.as_str()), ("x", "y")];
            let back = decode(&encode(&fields)).unwrap();
            assert_eq!(back, [("name".to_owned(), value.clone()), ("x".to_owned(), "y".to_owned())]);
        }
    }

    #[test]
    fn static_indexes_are_read_and_the_rest_is_refused() {
        // RFC 7541 section 6.1 and appendix A; a name by index with a value of its own.
        let block = [b"\x88\x0f\x0d\x012".as_slice(), b"\x10\x01a\x01b"].concat();
        let wanted = [(":status", "200"), ("content-length", "2"), ("a", "b")];
        let back = decode(&block).unwrap();
        assert!(back.iter().map(|(name, value)| (name.as_str(), value.as_str())).eq(wanted), "{back:?}");
        assert_eq!(decode(b"\x20\x88").unwrap().len(), 1, "a change of the size at the start is fine");
        for block in
            [b"\xbe".as_slice(), b"\x80", b"\x40\x01a\x01b", b"\x88\x20", b"\0\x81a\x01b", b"\0\x05a"]
        {
            assert!(decode(block).is_err(), "{block:?}");
        }
    }
}
