//! The bytes of a header: of a record or a checkpoint of the journal, and of an entry of the file
//! `checkpoints`.
//!
//! Fifteen words: the magic; kind, flags, agency and the header's own CRC-32; the ledger; the
//! records acknowledged when it was written; and one word whose meaning depends on the kind. The
//! chain in the ledger is a hash of this header and of the chain before it.

use std::hash::Hasher;

use siphasher::sip::SipHasher13;

use super::super::ledger::{LEDGER_WORDS, Ledger, LedgerWords, halves, word};

/// First word of a header: the name of the format and its version.
pub const MAGIC: u64 = u64::from_le_bytes(*b"LOTJRNL2");
/// Bytes of the magic that all versions share.
pub const MAGIC_NAME: &[u8] = b"LOTJRNL";
/// Version of the format: the last byte of the magic.
pub const VERSION: u8 = b'2';
const HEADER_WORDS: usize = 4 + LEDGER_WORDS;
/// Size of a header.
pub const HEADER_BYTES: usize = HEADER_WORDS * 8;
/// Word of the ledger with the chain.
const CHAIN: usize = 2 + LEDGER_WORDS - 1;

/// Flag of a batch: the record carries the bytes of the batch.
pub const WITH_PAYLOAD: u8 = 1;
/// Flag of a checkpoint: the run that wrote it has durability `disk`.
pub const DISK: u8 = 2;
/// Flag of a checkpoint: the central was stopped and wrote nothing after it.
pub const CLEAN: u8 = 4;
/// Flag of an entry of `checkpoints`: no sync has made the checkpoint before it durable, so a power
/// loss may keep the entry alone.
pub const VOLATILE: u8 = 8;

/// What a header begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// The totals at the start of an epoch. `extra` identifies the boot of the machine.
    Checkpoint = 1,
    /// A batch.
    Batch = 2,
    /// An agency has finished.
    Finish = 3,
    /// An entry of the file `checkpoints`. `extra` is the hash of the entry before it.
    Entry = 4,
    /// All finish marks before it are void: bets were reopened.
    Reopen = 5,
    /// A kind that a later version of this program added.
    Unknown = u8::MAX,
}

impl Kind {
    fn of(byte: u8) -> Self {
        let known = [Self::Checkpoint, Self::Batch, Self::Finish, Self::Entry, Self::Reopen];
        known.into_iter().find(|kind| *kind as u8 == byte).unwrap_or(Self::Unknown)
    }
}

/// A header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What it begins.
    pub kind: Kind,
    /// Flags of this kind.
    pub flags: u8,
    /// The agency of a finish mark.
    pub agency: u16,
    /// The totals after it. `journal_end` is the offset of a record itself.
    pub ledger: Ledger,
    /// Records that may have been acknowledged when it was written: they survive what the
    /// durability of the run promises.
    pub acknowledged: u64,
    /// A word whose meaning depends on the kind.
    pub extra: u64,
}

impl Header {
    /// Returns this header with the chain that continues `before`.
    #[must_use]
    pub fn chained(mut self, before: u64) -> Self {
        self.ledger.chain = self.chain_after(before);
        self
    }

    /// Returns true if the chain continues `before`.
    pub fn continues(&self, before: u64) -> bool {
        self.ledger.chain == self.chain_after(before)
    }

    fn chain_after(&self, before: u64) -> u64 {
        let mut words = self.words();
        words[CHAIN] = before;
        hash(&le_bytes(&words))
    }

    /// Returns true if a flag is set.
    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    fn words(&self) -> [u64; HEADER_WORDS] {
        let mut words = [0; HEADER_WORDS];
        words[0] = MAGIC;
        let agency = u32::from(self.agency) << 16;
        words[1] = word(self.kind as u32 | u32::from(self.flags) << 8 | agency, 0);
        words[2..2 + LEDGER_WORDS].copy_from_slice(&LedgerWords::from(self.ledger));
        words[HEADER_WORDS - 2] = self.acknowledged;
        words[HEADER_WORDS - 1] = self.extra;
        words
    }

    /// Returns the bytes.
    pub fn bytes(&self) -> [u8; HEADER_BYTES] {
        let mut words = self.words();
        words[1] |= word(0, crc32fast::hash(&le_bytes(&words)));
        le_bytes(&words)
    }

    /// Parses the bytes of a header. Returns `None` if they are none, or a torn or damaged one.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let mut words = [0; HEADER_WORDS];
        for (word, chunk) in words.iter_mut().zip(bytes.get(..HEADER_BYTES)?.as_chunks().0) {
            *word = u64::from_le_bytes(*chunk);
        }
        let (fields, checksum) = halves(words[1]);
        words[1] = word(fields, 0);
        if words[0] != MAGIC || crc32fast::hash(&le_bytes(&words)) != checksum {
            return None;
        }
        let mut ledger: LedgerWords = [0; LEDGER_WORDS];
        ledger.copy_from_slice(&words[2..2 + LEDGER_WORDS]);
        let [kind, flags, ..] = fields.to_le_bytes();
        Some(Self {
            kind: Kind::of(kind),
            flags,
            agency: (fields >> 16) as u16,
            ledger: ledger.into(),
            acknowledged: words[HEADER_WORDS - 2],
            extra: words[HEADER_WORDS - 1],
        })
    }
}

/// Returns a 64-bit hash that later versions of this program compute in the same way.
pub fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = SipHasher13::new();
    hasher.write(bytes);
    hasher.finish()
}

fn le_bytes(words: &[u64; HEADER_WORDS]) -> [u8; HEADER_BYTES] {
    let mut bytes = [0; HEADER_BYTES];
    for (chunk, word) in bytes.chunks_exact_mut(8).zip(words) {
        chunk.copy_from_slice(&word.to_le_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        let ledger = Ledger { batches: 3, bets: 9, epoch: 2, ..Ledger::default() };
        Header { kind: Kind::Finish, flags: 6, agency: 513, ledger, acknowledged: 8, extra: 7 }
    }

    #[test]
    fn a_header_is_parsed_from_its_bytes_and_from_none_with_a_flipped_bit() {
        let bytes = header().chained(5).bytes();
        let parsed = Header::parse(&bytes).unwrap();
        assert_eq!(parsed, header().chained(5));
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Header::parse(&damaged), None, "bit {bit}");
        }
        assert_eq!(Header::parse(&bytes[1..]), None);
    }

    #[test]
    fn the_chain_depends_on_every_field_and_on_the_chain_before() {
        let chained = header().chained(5);
        assert!(chained.continues(5) && !chained.continues(6));
        assert!(!Header { extra: 8, ..chained }.continues(5));
        assert!(!Header { agency: 1, ..chained }.continues(5));
    }
}
