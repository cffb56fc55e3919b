//! The shared part of the primitives: a few numbers and a table of participants that are whole at
//! every moment, a word to sleep on, and the check for dead participants.

use std::marker::PhantomData;

use crate::memory::cell::{WORD, atomic, read_words, word, write_words};
use crate::memory::element::Shareable;
use crate::memory::layout::{HEAD_BYTES, LOCK_BYTES, ROW_BYTES, SIGNAL_BYTES};
use crate::memory::state::is_removed;
use crate::sync::copies::Copies;
use crate::sync::lock::{LockError, LockFailure, LockGuard};
use crate::sync::participant::{Identity, Row};
use crate::sys::atomic::{AtomicU32, AtomicU64, Ordering, fence};
use crate::sys::deadline::{Deadline, now_in_ms};
use crate::sys::futex;
use crate::sys::mapping::Place;

/// The numbers at the start of a record: at most seven `u64`, because the eighth counts the rows.
pub(crate) trait Head: Shareable {
    /// The index of a number that only grows and that [`Held::number`] changes, if another number
    /// is compared with it. Readers without the lock get all numbers as they were while this one
    /// did not change.
    const STEADY: Option<usize> = None;
}

/// The word of a copy that counts the rows.
const ROWS_WORD: usize = HEAD_BYTES / WORD - 1;
/// The word of the signal line that holds the time of the last check.
const LOOKED_OFFSET: usize = 8;
/// Minimum time between two checks, by whichever process. Otherwise each of many waiters would read
/// the same files of `/proc`.
const BETWEEN_LOOKS_MS: u64 = 50;

/// A shared record, changed under a lock and committed whole. A process that is killed during a
/// change leaves the record as it was.
pub(crate) struct Record<H> {
    copies: Copies,
    signal: Place,
    capacity: usize,
    head: PhantomData<H>,
}

/// The contents of a record.
pub(crate) struct State<H> {
    pub(crate) head: H,
    rows: Vec<Row>,
    capacity: usize,
}

/// Holds the lock of a record.
pub(crate) struct Held<'a, H> {
    record: &'a Record<H>,
    _guard: LockGuard<'a>,
}

/// The error of a table of participants without room for one more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

impl<H: Head> Record<H> {
    pub(crate) fn new(place: &Place) -> Self {
        const { assert!(size_of::<H>() <= ROWS_WORD * WORD) };
        let copies = place.bytes() - SIGNAL_BYTES;
        let record = place.part(0, copies);
        let capacity = ((copies - LOCK_BYTES) / 2 - HEAD_BYTES) / ROW_BYTES;
        Self {
            copies: Copies::new(&record),
            signal: place.part(copies, SIGNAL_BYTES),
            capacity,
            head: PhantomData,
        }
    }

    /// Returns what was committed last. Takes no lock.
    pub(crate) fn get(&self) -> State<H> {
        self.read(|copy| self.decode(copy))
    }

    /// Returns the head of what was committed last.
    pub(crate) fn head(&self) -> H {
        self.read(|copy| read_words(copy, 0))
    }

    fn read<R>(&self, read: impl Fn(&Place) -> R) -> R {
        let Some(steady) = H::STEADY else { return self.copies.read(read) };
        self.copies.read(|copy| {
            loop {
                let before = word(copy, steady).load(Ordering::Acquire);
                let result = read(copy);
                fence(Ordering::Acquire);
                if word(copy, steady).load(Ordering::Relaxed) == before {
                    return result;
                }
            }
        })
    }

    /// Takes the lock of the record. It never becomes unrecoverable, because what it guards is
    /// always whole.
    #[inline]
    pub(crate) fn lock(&self) -> Result<Held<'_, H>, LockFailure> {
        let guard = match self.copies.lock().lock_briefly() {
            Ok(guard) => guard,
            Err(LockError::OwnerDied(inherited)) => inherited.repaired(),
            Err(LockError::Failed(failure)) => return Err(failure),
        };
        Ok(Held { record: self, _guard: guard })
    }

    /// Changes the record under its lock, all in one commit.
    pub(crate) fn update<R>(
        &self,
        change: impl FnOnce(&mut State<H>) -> R,
    ) -> Result<R, LockFailure> {
        self.update_as(|state, _| change(state))
    }

    /// Works like [`update`](Self::update), and passes the identity of the calling process.
    pub(crate) fn update_as<R>(
        &self,
        change: impl FnOnce(&mut State<H>, Identity) -> R,
    ) -> Result<R, LockFailure> {
        let own = Identity::own()?;
        Ok(self.lock()?.update(|state| change(state, own)))
    }

    fn decode(&self, copy: &Place) -> State<H> {
        // This number is torn if another process commits at the same time. Then it is read again,
        // but it must not lead outside the place before that.
        let used = read_words::<u64>(copy, ROWS_WORD).min(self.capacity as u64) as usize;
        let rows = (0..used).map(|index| read_words(copy, row_word(index))).collect();
        State { head: read_words(copy, 0), rows, capacity: self.capacity }
    }

    /// Returns the number of announcements so far. A caller that reads it before it reads the
    /// record, and then passes it to [`sleep`](Self::sleep), misses no announcement.
    pub(crate) fn announcements(&self) -> u32 {
        self.announced().load(Ordering::Acquire)
    }

    /// Wakes at most this many sleepers of the kinds in `bits`, because the record has changed for
    /// them. If the process is killed between its change and this call, the sleepers detect the
    /// change at their next check.
    pub(crate) fn announce(&self, sleepers: u64, bits: u32) {
        self.announced().fetch_add(1, Ordering::AcqRel);
        futex::wake(self.announced(), u32::try_from(sleepers).unwrap_or(u32::MAX), bits);
    }

    /// Sleeps until the next announcement after `seen`, for at most 100 ms, or until the deadline.
    /// Fails if the segment is removed and there is no such announcement.
    pub(crate) fn sleep(
        &self,
        seen: u32,
        deadline: Deadline,
        bits: u32,
    ) -> Result<(), LockFailure> {
        if self.announcements() == seen && is_removed(&self.signal) {
            return Err(LockFailure::Removed);
        }
        Ok(futex::wait(self.announced(), seen, deadline.next_look()?, bits)?)
    }

    /// Returns the dead participants, for a caller that has slept. Returns none if any process has
    /// just checked.
    pub(crate) fn look_for_dead(&self) -> Result<Vec<Identity>, LockFailure> {
        let looked: &AtomicU64 = word(&self.signal, LOOKED_OFFSET / WORD);
        let now = now_in_ms()?;
        let last = looked.load(Ordering::Relaxed);
        let due = now.wrapping_sub(last) >= BETWEEN_LOOKS_MS;
        // Several processes got here at the same time, and another one checks.
        let mine =
            due && looked.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        Ok(if mine { self.dead() } else { Vec::new() })
    }

    /// Returns the dead participants.
    pub(crate) fn dead(&self) -> Vec<Identity> {
        let own = Identity::own().ok();
        let mut others: Vec<_> =
            self.get().rows.iter().map(|row| row.who).filter(|&who| Some(who) != own).collect();
        others.dedup();
        others.retain(|who| who.is_dead());
        others
    }

    fn announced(&self) -> &AtomicU32 {
        atomic::<u32>(&self.signal, 0)
    }
}

impl<H: Head> Held<'_, H> {
    /// Returns the numbers.
    #[inline]
    pub(crate) fn head(&self) -> H {
        read_words(self.record.copies.current(), 0)
    }

    /// Returns the number of this index, for a change of this number alone. One store commits it
    /// without a switch of the copies, which moves two more cache lines between processors.
    #[inline]
    pub(crate) fn number(&self, index: usize) -> &AtomicU64 {
        word(self.record.copies.current(), index)
    }

    /// Changes the record in one commit.
    pub(crate) fn update<R>(&self, change: impl FnOnce(&mut State<H>) -> R) -> R {
        let copies = &self.record.copies;
        let mut state = self.record.decode(copies.current());
        let result = change(&mut state);
        copies.commit(|copy| {
            write_words(copy, 0, &state.head);
            write_words(copy, ROWS_WORD, &(state.rows.len() as u64));
            for (index, row) in state.rows.iter().enumerate() {
                write_words(copy, row_word(index), row);
            }
        });
        result
    }
}

/// Returns the word of a copy at which a row starts.
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

    /// Returns the row of a process, if it has one.
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

    /// Keeps only the rows for which `stays` is true.
    pub(crate) fn keep(&mut self, stays: impl FnMut(&Row) -> bool) {
        self.rows.retain(stays);
    }

    /// Removes the rows for which `leaves` is true, and returns them.
    pub(crate) fn remove(&mut self, mut leaves: impl FnMut(&Row) -> bool) -> Vec<Row> {
        self.rows.extract_if(.., |row| leaves(row)).collect()
    }
}
