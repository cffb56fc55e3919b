//! What the synchronisation primitives are made of: a few numbers and a table of participants that are whole at every moment,
//! a word to sleep on, and the look around for the dead.

use std::marker::PhantomData;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::memory::cell::{WORD, atomic, read_words, word, write_words};
use crate::memory::element::Shareable;
use crate::memory::layout::{HEAD_BYTES, ROW_BYTES, SIGNAL_BYTES};
use crate::sync::copies::Copies;
use crate::sync::lock::{LockError, LockFailure};
use crate::sync::participant::{Identity, Row};
use crate::sys::deadline::{Deadline, now};
use crate::sys::futex;
use crate::sys::mapping::Place;

/// Numbers at the start of a record: at most seven `u64`, for the eighth counts the rows.
pub(crate) trait Head: Shareable {}

/// Which word of a copy counts the rows.
const ROWS_WORD: usize = HEAD_BYTES / WORD - 1;
/// Where the signal line keeps the time of the last look around.
const LOOKED_OFFSET: usize = 8;
/// For so long after a look nobody looks again: each of many waiters would read the same files of `/proc`.
const BETWEEN_LOOKS_MS: u64 = 50;

/// A shared record, changed under a lock and committed whole. A holder of the lock that is killed changes nothing.
pub(crate) struct Record<H> {
    copies: Copies,
    signal: Place,
    capacity: usize,
    head: PhantomData<H>,
}

/// What a record holds.
pub(crate) struct State<H> {
    pub(crate) head: H,
    rows: Vec<Row>,
    capacity: usize,
}

/// The table of participants has no room for one more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

impl<H: Head> Record<H> {
    pub(crate) fn new(place: &Place) -> Self {
        const { assert!(size_of::<H>() <= ROWS_WORD * WORD) };
        let copies = place.bytes() - SIGNAL_BYTES;
        let record = place.part(0, copies);
        let capacity =
            ((copies - size_of::<crate::sync::mutex::LockBlock>()) / 2 - HEAD_BYTES) / ROW_BYTES;
        Self {
            copies: Copies::new(&record),
            signal: place.part(copies, SIGNAL_BYTES),
            capacity,
            head: PhantomData,
        }
    }

    /// What was committed last. Takes no lock.
    pub(crate) fn get(&self) -> State<H> {
        self.copies.read(|copy| self.decode(copy))
    }

    /// The head of what was committed last.
    pub(crate) fn head(&self) -> H {
        self.copies.read(|copy| read_words(copy, 0))
    }

    /// Changes the record under its lock, all in one commit. The lock is never lost: what it guards is always whole.
    pub(crate) fn update<R>(
        &self,
        change: impl FnOnce(&mut State<H>) -> R,
    ) -> Result<R, LockFailure> {
        self.update_as(|state, _| change(state))
    }

    /// As [`update`](Self::update), by one who wants to know who it is.
    pub(crate) fn update_as<R>(
        &self,
        change: impl FnOnce(&mut State<H>, Identity) -> R,
    ) -> Result<R, LockFailure> {
        let _guard = match self.copies.lock().lock() {
            Ok(guard) => guard,
            Err(LockError::OwnerDied(inherited)) => inherited.repaired(),
            Err(LockError::Failed(failure)) => return Err(failure),
        };
        let mut state = self.decode(self.copies.current());
        let own = self.copies.lock().holder().map_or_else(Identity::own, Identity::of_thread);
        let result = change(&mut state, own);
        self.copies.commit(|copy| {
            write_words(copy, 0, &state.head);
            write_words(copy, ROWS_WORD, &(state.rows.len() as u64));
            for (index, row) in state.rows.iter().enumerate() {
                write_words(copy, row_word(index), row);
            }
        });
        Ok(result)
    }

    fn decode(&self, copy: &Place) -> State<H> {
        // Torn while somebody commits, and then read again; until then it must not lead out of the place.
        let used = read_words::<u64>(copy, ROWS_WORD).min(self.capacity as u64) as usize;
        let rows = (0..used).map(|index| read_words(copy, row_word(index))).collect();
        State { head: read_words(copy, 0), rows, capacity: self.capacity }
    }

    /// The number of announcements so far. Read before looking at the record, and then given to [`sleep`](Self::sleep), it
    /// loses none.
    pub(crate) fn announcements(&self) -> u32 {
        self.announced().load(Ordering::Acquire)
    }

    /// Tells sleepers of the kinds in `bits`, at most so many, that the record has changed for them. A process that is killed
    /// between its change and this leaves them to find out by themselves.
    pub(crate) fn announce(&self, sleepers: u64, bits: u32) {
        self.announced().fetch_add(1, Ordering::AcqRel);
        futex::wake(self.announced(), u32::try_from(sleepers).unwrap_or(u32::MAX), bits);
    }

    /// Sleeps until the next announcement after `seen`, for a tenth of a second, or until the deadline.
    pub(crate) fn sleep(
        &self,
        seen: u32,
        deadline: Deadline,
        bits: u32,
    ) -> Result<(), LockFailure> {
        Ok(futex::wait(self.announced(), seen, deadline.next_look()?, bits)?)
    }

    /// Those participants that are dead, for one who has slept. None when anybody has looked just now.
    pub(crate) fn look_for_dead(&self) -> Result<Vec<Identity>, LockFailure> {
        let looked: &AtomicU64 = word(&self.signal, LOOKED_OFFSET / WORD);
        let now = now()?;
        let now = now.tv_sec().cast_unsigned() * 1000 + now.tv_nsec().cast_unsigned() / 1_000_000;
        let last = looked.load(Ordering::Relaxed);
        let due = now.wrapping_sub(last) >= BETWEEN_LOOKS_MS;
        // One of several that come at the same time.
        let mine =
            due && looked.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        Ok(if mine { self.dead() } else { Vec::new() })
    }

    /// Those participants that are dead.
    pub(crate) fn dead(&self) -> Vec<Identity> {
        let own = Identity::own();
        let mut others: Vec<_> =
            self.get().rows.iter().map(|row| row.who).filter(|&who| who != own).collect();
        others.dedup();
        others.retain(|who| who.is_dead());
        others
    }

    fn announced(&self) -> &AtomicU32 {
        atomic::<u32>(&self.signal, 0)
    }
}

/// Where a row starts in a copy, in words.
fn row_word(index: usize) -> usize {
    (HEAD_BYTES + index * ROW_BYTES) / WORD
}

impl<H> State<H> {
    pub(crate) fn rows(&self) -> &[Row] {
        &self.rows
    }

    pub(crate) fn rows_mut(&mut self) -> &mut [Row] {
        &mut self.rows
    }

    /// The row of a process, if it has one.
    pub(crate) fn row(&mut self, who: Identity) -> Option<&mut Row> {
        self.rows.iter_mut().find(|row| row.who == who)
    }

    pub(crate) fn insert(&mut self, row: Row) -> Result<(), Full> {
        if self.rows.len() < self.capacity {
            self.rows.push(row);
            Ok(())
        } else {
            Err(Full)
        }
    }

    /// Takes the rows out for which `leaves` is true.
    pub(crate) fn remove(&mut self, mut leaves: impl FnMut(&Row) -> bool) -> Vec<Row> {
        let (gone, kept) = self.rows.iter().partition(|row| leaves(row));
        self.rows = kept;
        gone
    }
}
