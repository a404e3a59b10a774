//! Cuts what comes out of a pipe into lines.

/// Bytes of one line; the rest of a longer one becomes the next.
pub const LONGEST_LINE: usize = 16 * 1024;

/// What was read of a line that has not ended.
#[derive(Debug, Default)]
pub struct Cutter {
    begun: Vec<u8>,
    /// It continues one that was too long.
    is_rest: bool,
}

impl Cutter {
    /// Goes on with what another has read of a line.
    pub fn of(begun: Vec<u8>) -> Self {
        let fits = begun.len() < LONGEST_LINE;
        Self { begun: if fits { begun } else { Vec::new() }, is_rest: false }
    }

    /// Hands over every line that ends in `bytes`.
    pub fn cut(&mut self, bytes: &[u8], mut take: impl FnMut(&[u8])) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let room = LONGEST_LINE - self.begun.len();
            let (window, beyond) = rest.split_at(room.min(rest.len()));
            let (line, is_rest) = match memchr::memchr(b'\n', window) {
                Some(end) => {
                    rest = rest.get(end + 1..).unwrap_or_default();
                    (window.split_at(end).0, false)
                }
                None => {
                    rest = beyond;
                    (window, true)
                }
            };
            if is_rest && line.len() < room {
                self.begun.extend_from_slice(line);
                return;
            }
            // The end of one that was cut exactly there is no empty line.
            let is_end = self.is_rest && self.begun.is_empty() && line.is_empty();
            self.is_rest = is_rest;
            if is_end {
                continue;
            }
            if self.begun.is_empty() {
                take(line);
            } else {
                self.begun.extend_from_slice(line);
                take(&self.begun);
                self.begun.clear();
            }
        }
    }

    /// The last line of a pipe that ended, if it has no line end.
    pub fn rest(&self) -> Option<&[u8]> {
        Some(&*self.begun).filter(|line| !line.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lines(pieces: &[&[u8]]) -> Vec<Vec<u8>> {
        let (mut cutter, mut lines) = (Cutter::default(), Vec::new());
        for piece in pieces {
            cutter.cut(piece, |line| lines.push(line.to_owned()));
        }
        lines.extend(cutter.rest().map(<[u8]>::to_owned));
        lines
    }

    #[test]
    fn long_lines_are_cut_and_empty_ones_kept() {
        let lengths = |text: &[u8]| lines(&[text]).iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(lengths(b"a\n\nbc"), [1, 0, 2]);
        let long = |length: usize, end: &str| [&vec![b'y'; length], end.as_bytes()].concat();
        assert_eq!(lengths(&long(LONGEST_LINE * 2 + 1, "\n")), [LONGEST_LINE, LONGEST_LINE, 1]);
        assert_eq!(lengths(&long(LONGEST_LINE, "\nx\n")), [LONGEST_LINE, 1]);
        assert_eq!(lengths(&long(LONGEST_LINE, "\n\n")), [LONGEST_LINE, 0]);
        assert_eq!(lengths(&long(LONGEST_LINE - 1, "\nx")), [LONGEST_LINE - 1, 1]);
    }

    proptest! {
        #[test]
        fn it_does_not_matter_how_the_bytes_come(text in "[a\n]{0,200}", sizes in prop::collection::vec(1..9usize, 200)) {
            let bytes = text.as_bytes();
            let (mut pieces, mut rest) = (Vec::new(), bytes);
            for size in sizes {
                let (piece, after) = rest.split_at(size.min(rest.len()));
                pieces.push(piece);
                rest = after;
            }
            pieces.push(rest);
            let expected: Vec<Vec<u8>> = text.lines().map(|line| line.as_bytes().to_owned()).collect();
            prop_assert_eq!(lines(&pieces), expected);
        }
    }
}
