//! The HPACK decoder (RFC 7541 sections 3, 5 and 6).

use std::cell::Cell;
use std::ops::Range;

use super::table::Table;
use super::{DecodeError, huffman};

/// Size updates that may begin a header block: the smallest size since the last block, and the one that is
/// valid now (RFC 7541 section 4.2).
const MOST_SIZE_UPDATES: usize = 2;
/// Continuation bytes of the largest integer of 32 bits.
const MOST_CONTINUATION_BYTES: usize = 5;
/// Bytes of scratch memory that a thread keeps from block to block.
const KEPT_SCRATCH: usize = 16 * 1024;

thread_local! {
    /// Takes the Huffman-coded strings of a field. One for each thread and not for each connection, so
    /// that idle connections have none.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Decodes the header blocks of one direction of a connection. All of them must pass through it, in order,
/// those of refused streams too, since each may change the dynamic table (RFC 9113 section 4.3).
#[derive(Debug)]
pub struct Decoder {
    table: Table,
    /// The largest size that the peer may choose for the dynamic table, in bytes.
    allowed: usize,
}

impl Decoder {
    /// `table_size`: bytes of the dynamic table that SETTINGS_HEADER_TABLE_SIZE allows (4096 by default), as
    /// RFC 7541 section 4.1 counts them. Memory is taken when the first entry comes.
    pub fn new(table_size: usize) -> Self {
        Self { table: Table::new(table_size), allowed: table_size }
    }

    /// Decodes a whole header block and gives each field (name, value) in order to `field`.
    ///
    /// A field may come from one byte and be as long as the dynamic table, so it is for `field` to limit what
    /// is kept. After an error the fields so far are worthless, and the decoder must not be used any more.
    pub fn decode(&mut self, block: &[u8], field: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), DecodeError> {
        let mut scratch = SCRATCH.try_with(Cell::take).unwrap_or_default();
        let result = self.decode_with(block, &mut scratch, field);
        if scratch.capacity() <= KEPT_SCRATCH {
            // A thread that ends has no place for it any more, and then it is freed.
            let _ = SCRATCH.try_with(|kept| kept.set(scratch));
        }
        result
    }

    fn decode_with(
        &mut self,
        block: &[u8],
        scratch: &mut Vec<u8>,
        field: &mut dyn FnMut(&[u8], &[u8]),
    ) -> Result<(), DecodeError> {
        let mut input = Input { rest: block };
        self.update_size(&mut input)?;
        while let Some(first) = input.rest.first() {
            match first.leading_zeros() {
                // Indexed (RFC 7541 section 6.1).
                0 => {
                    let (name, value) = self.table.get(input.integer(7)?)?;
                    field(name, value);
                }
                // Literal with incremental indexing (section 6.2.1).
                1 => self.literal(&mut input, 6, scratch, field)?,
                // A size update, which only the start of a block may have (section 4.2).
                2 => return Err(DecodeError::SizeUpdateAfterField),
                // Literal that is not or never indexed (sections 6.2.2 and 6.2.3).
                _ => self.literal(&mut input, 4, scratch, field)?,
            }
        }
        Ok(())
    }

    /// The dynamic table.
    #[cfg(test)]
    pub(super) fn table(&self) -> &Table {
        &self.table
    }

    /// Reads the size updates at the start of a block (RFC 7541 section 6.3).
    fn update_size(&mut self, input: &mut Input<'_>) -> Result<(), DecodeError> {
        let mut updates = 0;
        while input.rest.first().is_some_and(|first| first.leading_zeros() == 2) {
            updates += 1;
            if updates > MOST_SIZE_UPDATES {
                return Err(DecodeError::TooManySizeUpdates);
            }
            let size = input.integer(5)?;
            if size > self.allowed {
                return Err(DecodeError::SizeUpdateTooLarge);
            }
            self.table.set_limit(size);
        }
        Ok(())
    }

    /// Reads a literal field (RFC 7541 section 6.2). A prefix of 6 bits says that it enters the table.
    fn literal(
        &mut self,
        input: &mut Input<'_>,
        prefix: u32,
        scratch: &mut Vec<u8>,
        field: &mut dyn FnMut(&[u8], &[u8]),
    ) -> Result<(), DecodeError> {
        let index = input.integer(prefix)?;
        let mut used = 0;
        let literal_name = if index == 0 { Some(input.string(scratch, &mut used)?) } else { None };
        let value = input.string(scratch, &mut used)?;
        let value = value.bytes(scratch);
        let indexed = prefix == 6;
        if let Some(name) = literal_name {
            let name = name.bytes(scratch);
            field(name, value);
            if indexed {
                self.table.insert(name, value);
            }
        } else {
            field(self.table.get(index)?.0, value);
            if indexed {
                self.table.insert_with_name_of(index, value)?;
            }
        }
        Ok(())
    }
}

/// The part of a header block that is still to be read.
struct Input<'block> {
    rest: &'block [u8],
}

impl<'block> Input<'block> {
    fn byte(&mut self) -> Result<u8, DecodeError> {
        let (first, rest) = self.rest.split_first().ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(*first)
    }

    /// Reads an integer with a prefix of so many bits (RFC 7541 section 5.1).
    fn integer(&mut self, prefix: u32) -> Result<usize, DecodeError> {
        let mask = (1_u8 << prefix) - 1;
        let first = self.byte()? & mask;
        if first < mask {
            return Ok(usize::from(first));
        }
        let mut sum = u64::from(mask);
        for count in 0..MOST_CONTINUATION_BYTES {
            let byte = self.byte()?;
            sum += u64::from(byte & 0x7f) << (7 * count);
            if byte & 0x80 == 0 {
                let integer = u32::try_from(sum).map_err(|_| DecodeError::IntegerTooLarge)?;
                return usize::try_from(integer).map_err(|_| DecodeError::IntegerTooLarge);
            }
        }
        Err(DecodeError::IntegerTooLarge)
    }

    /// Reads a string (RFC 7541 section 5.2). If it is Huffman-coded, its text goes to `scratch`, of which the
    /// first `used` bytes are taken.
    fn string(&mut self, scratch: &mut Vec<u8>, used: &mut usize) -> Result<Text<'block>, DecodeError> {
        let coded = self.rest.first().is_some_and(|first| first & 0x80 != 0);
        let length = self.integer(7)?;
        let (string, rest) = self.rest.split_at_checked(length).ok_or(DecodeError::StringBeyondBlock)?;
        self.rest = rest;
        if !coded {
            return Ok(Text::Plain(string));
        }
        let start = *used;
        *used = huffman::decode(string, scratch, start)?;
        Ok(Text::Decoded(start..*used))
    }
}

/// Where the text of a string is.
enum Text<'block> {
    /// In the header block itself.
    Plain(&'block [u8]),
    /// In the scratch memory.
    Decoded(Range<usize>),
}

impl<'block> Text<'block> {
    fn bytes<'all>(self, scratch: &'all [u8]) -> &'all [u8]
    where
        'block: 'all,
    {
        match self {
            Self::Plain(text) => text,
            Self::Decoded(range) => &scratch[range],
        }
    }
}
