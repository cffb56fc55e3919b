//! The agencies in the shared state: which of them count for the draw, and which have finished.
//!
//! Each set has one bit per agency number. Only a process that holds the lock of `ledger` changes a
//! set while other processes run, so a bit needs no atomic update.

use multiprocessing::RawArray;

use super::Shared;

/// Agency numbers per word of a set.
const BITS: usize = u64::BITS as usize;
/// Words of a set: one bit for every u16.
pub const AGENCY_WORDS: usize = (1 << 16) / BITS;

impl Shared {
    /// Lets only these agencies count for the draw.
    pub fn set_roster(&self, agencies: impl Iterator<Item = u16>) {
        set(&self.roster_agencies, agencies);
    }

    /// Returns true if only the agencies of a roster count for the draw.
    fn has_roster(&self) -> bool {
        self.roster_agencies.iter().any(|word| word != 0)
    }

    /// Returns a predicate that is true for the agencies that count for the draw.
    fn counting(&self) -> impl Fn(&u16) -> bool {
        let all = !self.has_roster();
        move |agency| all || contains(&self.roster_agencies, *agency)
    }

    /// Returns true if the agency has finished and counts for the draw.
    pub fn has_finished(&self, agency: u16) -> bool {
        contains(&self.finished_agencies, agency)
    }

    /// Returns the agencies that have finished, in ascending order.
    pub fn finished_numbers(&self) -> Vec<u16> {
        (0..=u16::MAX).filter(|agency| contains(&self.finished_agencies, *agency)).collect()
    }

    /// Returns the agencies of the roster that have not finished, in ascending order.
    pub fn missing_numbers(&self) -> Vec<u16> {
        let is_missing = |agency: &u16| {
            contains(&self.roster_agencies, *agency) && !contains(&self.finished_agencies, *agency)
        };
        (0..=u16::MAX).filter(is_missing).collect()
    }

    /// Records that exactly these agencies have finished, and leaves out those that do not count.
    /// The caller holds the lock of `ledger`, or is the only process.
    pub fn set_finished(&self, agencies: impl Iterator<Item = u16>) {
        set(&self.finished_agencies, agencies.filter(self.counting()));
        let finished: u32 = self.finished_agencies.iter().map(u64::count_ones).sum();
        self.finished.store(finished);
    }

    /// Records that an agency has finished. Returns the number of agencies that have finished, or
    /// `None` if the agency does not count. The caller holds the lock of `ledger`.
    pub fn add_finished(&self, agency: u16) -> Option<u32> {
        if !self.counting()(&agency) {
            return None;
        }
        if !contains(&self.finished_agencies, agency) {
            insert(&self.finished_agencies, agency);
            self.finished.fetch_add(1);
        }
        Some(self.finished.load())
    }
}

fn set(words: &RawArray<u64>, agencies: impl Iterator<Item = u16>) {
    (0..words.len()).for_each(|word| words.store(word, 0));
    agencies.for_each(|agency| insert(words, agency));
}

fn insert(words: &RawArray<u64>, agency: u16) {
    let word = usize::from(agency) / BITS;
    words.store(word, words.load(word) | bit(agency));
}

fn contains(words: &RawArray<u64>, agency: u16) -> bool {
    words.load(usize::from(agency) / BITS) & bit(agency) != 0
}

fn bit(agency: u16) -> u64 {
    1 << (usize::from(agency) % BITS)
}
