//! The static and the dynamic table of HPACK (RFC 7541 sections 2.3 and 4, appendix A).

use std::collections::VecDeque;

use super::DecodeError;

/// A name and a value.
type Field<'table> = (&'table [u8], &'table [u8]);

/// The entries 1 to 61, names and values (RFC 7541 appendix A).
#[rustfmt::skip]
pub(super) static STATIC: [Field<'static>; 61] = [
    (b":authority", b""),
    (b":method", b"GET"),
    (b":method", b"POST"),
    (b":path", b"/"),
    (b":path", b"/index.html"),
    (b":scheme", b"http"),
    (b":scheme", b"https"),
    (b":status", b"200"),
    (b":status", b"204"),
    (b":status", b"206"),
    (b":status", b"304"),
    (b":status", b"400"),
    (b":status", b"404"),
    (b":status", b"500"),
    (b"accept-charset", b""),
    (b"accept-encoding", b"gzip, deflate"),
    (b"accept-language", b""),
    (b"accept-ranges", b""),
    (b"accept", b""),
    (b"access-control-allow-origin", b""),
    (b"age", b""),
    (b"allow", b""),
    (b"authorization", b""),
    (b"cache-control", b""),
    (b"content-disposition", b""),
    (b"content-encoding", b""),
    (b"content-language", b""),
    (b"content-length", b""),
    (b"content-location", b""),
    (b"content-range", b""),
    (b"content-type", b""),
    (b"cookie", b""),
    (b"date", b""),
    (b"etag", b""),
    (b"expect", b""),
    (b"expires", b""),
    (b"from", b""),
    (b"host", b""),
    (b"if-match", b""),
    (b"if-modified-since", b""),
    (b"if-none-match", b""),
    (b"if-range", b""),
    (b"if-unmodified-since", b""),
    (b"last-modified", b""),
    (b"link", b""),
    (b"location", b""),
    (b"max-forwards", b""),
    (b"proxy-authenticate", b""),
    (b"proxy-authorization", b""),
    (b"range", b""),
    (b"referer", b""),
    (b"refresh", b""),
    (b"retry-after", b""),
    (b"server", b""),
    (b"set-cookie", b""),
    (b"strict-transport-security", b""),
    (b"transfer-encoding", b""),
    (b"user-agent", b""),
    (b"vary", b""),
    (b"via", b""),
    (b"www-authenticate", b""),
];

/// By the hash of a name: the index of its first entry in the static table, or 0.
static SLOTS: [u8; 128] = slots();

const fn slots() -> [u8; 128] {
    let mut slots = [0; 128];
    // From the end, so that the first of the entries with one name stays.
    let mut index = STATIC.len();
    while index > 0 {
        slots[slot(STATIC[index - 1].0)] = index as u8;
        index -= 1;
    }
    slots
}

/// A hash by which no two names of the static table meet, found by trying factors. Upper and lower case give
/// the same. `name` must not be empty.
const fn slot(name: &[u8]) -> usize {
    /// Makes letters lower case, and the other bytes of the names in the table stay what they are.
    const LOWER: u8 = 0x20;
    let length = name.len();
    let first = (name[0] | LOWER) as usize;
    let middle = (name[length / 2] | LOWER) as usize;
    let last = (name[length - 1] | LOWER) as usize;
    (length * 60 + first * 16 + last * 45 + middle * 17) % 128
}

/// The index of the first entry of the static table that has this name, in whatever case.
pub(super) fn find_name(name: &[u8]) -> Option<usize> {
    if name.is_empty() {
        return None;
    }
    let index = SLOTS[slot(name)] as usize;
    let (found, _) = STATIC.get(index.checked_sub(1)?)?;
    (*found == name || found.eq_ignore_ascii_case(name)).then_some(index)
}

/// What an entry counts beyond its name and value (RFC 7541 section 4.1).
const ENTRY_OVERHEAD: usize = 32;
/// Evicted bytes that are worth a move of those behind them.
const WORTH_MOVING: usize = 512;

/// Where an entry of the dynamic table lies in its bytes. The value follows the name.
#[derive(Clone, Copy, Debug)]
struct Entry {
    start: usize,
    name: usize,
    value: usize,
}

impl Entry {
    fn size(self) -> usize {
        self.name + self.value + ENTRY_OVERHEAD
    }
}

/// The dynamic table. Without entries it has no memory.
///
/// Names and values lie one behind the other in `bytes`, the oldest first. Those of evicted entries stay
/// until there are more of them than of the others. So an insertion rarely allocates, and what is moved
/// is never more than what was inserted before.
#[derive(Debug)]
pub(super) struct Table {
    bytes: Vec<u8>,
    /// The newest first, which has the index 62.
    entries: VecDeque<Entry>,
    /// Sum of the sizes of the entries.
    size: usize,
    limit: usize,
}

impl Table {
    /// `limit`: bytes as RFC 7541 section 4.1 counts them.
    pub(super) fn new(limit: usize) -> Self {
        Self { bytes: Vec::new(), entries: VecDeque::new(), size: 0, limit }
    }

    /// The field with this index, static or dynamic (RFC 7541 section 2.3.3).
    pub(super) fn get(&self, index: usize) -> Result<Field<'_>, DecodeError> {
        let index = index.checked_sub(1).ok_or(DecodeError::ZeroIndex)?;
        if let Some(field) = STATIC.get(index) {
            return Ok(*field);
        }
        let entry = self.entries.get(index - STATIC.len()).ok_or(DecodeError::IndexBeyondTables)?;
        let field = &self.bytes[entry.start..][..entry.name + entry.value];
        Ok(field.split_at(entry.name))
    }

    /// Adds a field and evicts the oldest ones that have no room any more (RFC 7541 section 4.4).
    pub(super) fn insert(&mut self, name: &[u8], value: &[u8]) {
        let entry = Entry { start: self.bytes.len(), name: name.len(), value: value.len() };
        if self.has_room(entry) {
            self.bytes.extend_from_slice(name);
            self.push(entry, value);
        }
    }

    /// As `insert`, with the name of the field that has this index.
    pub(super) fn insert_with_name_of(&mut self, index: usize, value: &[u8]) -> Result<(), DecodeError> {
        let Some(dynamic) = index.checked_sub(STATIC.len() + 1) else {
            let (name, _) = STATIC.get(index.wrapping_sub(1)).ok_or(DecodeError::ZeroIndex)?;
            self.insert(name, value);
            return Ok(());
        };
        let source = *self.entries.get(dynamic).ok_or(DecodeError::IndexBeyondTables)?;
        let entry = Entry { start: self.bytes.len(), name: source.name, value: value.len() };
        if self.has_room(entry) {
            self.bytes.extend_from_within(source.start..source.start + source.name);
            self.push(entry, value);
        }
        Ok(())
    }

    /// Sets the limit; 0 empties the table (RFC 7541 section 4.3).
    pub(super) fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
        self.evict();
    }

    /// Whether the entry fits at all. One that does not empties the table.
    fn has_room(&mut self, entry: Entry) -> bool {
        let fits = entry.size() <= self.limit;
        if !fits {
            self.clear();
        }
        fits
    }

    /// Completes an entry whose name is in `bytes` already. What is evicted for it goes after that, since the
    /// name may have come from there.
    fn push(&mut self, entry: Entry, value: &[u8]) {
        self.bytes.extend_from_slice(value);
        self.entries.push_front(entry);
        self.size += entry.size();
        self.evict();
    }

    fn evict(&mut self) {
        while self.size > self.limit {
            let Some(entry) = self.entries.pop_back() else { break };
            self.size -= entry.size();
        }
        let Some(oldest) = self.entries.back() else {
            self.clear();
            return;
        };
        let evicted = oldest.start;
        if evicted > WORTH_MOVING.max(self.bytes.len() - evicted) {
            self.bytes.drain(..evicted);
            for entry in &mut self.entries {
                entry.start -= evicted;
            }
        }
    }

    /// Empties the table and gives its memory back.
    fn clear(&mut self) {
        *self = Self::new(self.limit);
    }

    /// The fields in the order of their indices, and the size of the table.
    #[cfg(test)]
    pub(super) fn content(&self) -> (Vec<Field<'_>>, usize) {
        let indices = STATIC.len() + 1..=STATIC.len() + self.entries.len();
        (indices.map(|index| self.get(index).unwrap()).collect(), self.size)
    }

    /// Bytes of memory that names and values take.
    #[cfg(test)]
    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    /// Bytes of memory that names and values take.
    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        self.bytes.capacity()
    }
}
