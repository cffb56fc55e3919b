//! A slot of the table: the place of one session, with two copies of its entry.
//!
//! The first change of a session in an epoch of the journal overwrites the older copy, and later
//! changes in the same epoch overwrite that copy again. So the other copy is the entry at the start
//! of the epoch.

use super::entry::{ENTRY_BYTES, Entry};

/// Size of a slot.
pub const SLOT_BYTES: usize = 2 * ENTRY_BYTES;

/// One of the two copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// Zeros: never written, or removed.
    Blank,
    /// Neither zeros nor an entry.
    Damaged,
    /// An entry.
    Whole(Entry),
}

/// A slot.
#[derive(Clone, Copy, Debug)]
pub struct Slot {
    /// The two copies.
    pub versions: [Version; 2],
}

impl Version {
    fn parse(bytes: &[u8; ENTRY_BYTES]) -> Self {
        if *bytes == [0; ENTRY_BYTES] {
            return Self::Blank;
        }
        Entry::parse(bytes).map_or(Self::Damaged, Self::Whole)
    }

    /// Returns the entry, if it is whole.
    pub fn entry(self) -> Option<Entry> {
        match self {
            Self::Whole(entry) => Some(entry),
            Self::Blank | Self::Damaged => None,
        }
    }
}

/// Returns true if a slot in the bytes of a table has a damaged copy.
pub fn has_damage(slots: &[u8]) -> bool {
    slots.as_chunks().0.iter().any(|slot| Slot::parse(slot).is_damaged())
}

impl Slot {
    /// Parses the bytes of a slot.
    pub fn parse(bytes: &[u8; SLOT_BYTES]) -> Self {
        let (copies, _) = bytes.as_chunks();
        Self { versions: [0, 1].map(|copy: usize| Version::parse(&copies[copy])) }
    }

    /// Returns true if a copy is damaged.
    pub fn is_damaged(&self) -> bool {
        self.versions.contains(&Version::Damaged)
    }

    /// Returns the newer entry; `None` if the slot is free.
    pub fn newest(&self) -> Option<Entry> {
        self.versions.into_iter().filter_map(Version::entry).max_by_key(|entry| entry.epoch)
    }

    /// Returns the offset in the slot of the copy that a change in this epoch overwrites.
    pub fn overwritten(&self, epoch: u64) -> usize {
        let [first, second] = self.versions.map(|copy| copy.entry().map(|entry| entry.epoch));
        let is_second = second == Some(epoch) || (first != Some(epoch) && second < first);
        if is_second { ENTRY_BYTES } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use lottery::BatchKey;

    use super::*;

    fn entry(sequence: u64, epoch: u64) -> Entry {
        Entry { key: BatchKey { session: [7; 16], agency: 1, sequence, content: 5 }, epoch }
    }

    #[test]
    fn the_entry_at_the_start_of_an_epoch_survives_all_changes_in_it() {
        let mut bytes = [0; SLOT_BYTES];
        let mut sequence = 0;
        for epoch in [3, 4, 9] {
            let start = Slot::parse(&bytes).newest();
            for _ in 0..3 {
                sequence += 1;
                let at = Slot::parse(&bytes).overwritten(epoch);
                bytes[at..at + ENTRY_BYTES].copy_from_slice(&entry(sequence, epoch).bytes());
                let slot = Slot::parse(&bytes);
                assert_eq!(slot.newest(), Some(entry(sequence, epoch)));
                let other = slot.versions.iter().filter_map(|copy| copy.entry());
                let other = other.filter(|entry| entry.epoch < epoch).max_by_key(|e| e.epoch);
                assert_eq!(other, start, "epoch {epoch}");
            }
        }
    }

    #[test]
    fn a_damaged_copy_is_overwritten_first() {
        for copy in [0, 1] {
            let mut bytes = [0; SLOT_BYTES];
            bytes[copy * ENTRY_BYTES] = 1;
            let other = (1 - copy) * ENTRY_BYTES;
            bytes[other..other + ENTRY_BYTES].copy_from_slice(&entry(1, 2).bytes());
            let slot = Slot::parse(&bytes);
            assert_eq!(slot.versions[copy], Version::Damaged);
            assert_eq!(slot.overwritten(3), copy * ENTRY_BYTES);
        }
    }
}
