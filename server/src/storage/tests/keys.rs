//! Batches with keys: what each of them stores, and what the storage must say about its session.

use std::collections::BTreeMap;

use lottery::BatchKey;

use crate::storage::{Group, Judgement, KeyRefused, Ledger, Storage};

use super::scratch::{Scratch, add};

/// Agency of every session.
pub const AGENCY: u16 = 3;

/// Returns the key of a batch of the session with this number.
pub fn key(session: u8, sequence: u64) -> BatchKey {
    let content = u64::from(session) << 32 | sequence;
    BatchKey { session: [session; 16], agency: AGENCY, sequence, content }
}

/// Returns a group of batches with keys: of each, this many rows, which name the batch. The first
/// one wins.
pub fn group(batches: &[(BatchKey, usize)]) -> Group {
    let mut group = Group::default();
    for (key, bets) in batches {
        let name = format!("{}-{}", key.session[0], key.sequence);
        add(&mut group, AGENCY, &name, *bets, Some(*key));
    }
    group
}

/// Stores the batches with these keys, of two bets each. All earlier records are durable.
pub fn store(storage: &mut Storage, ledger: Ledger, keys: &[BatchKey]) -> Ledger {
    let batches: Vec<_> = keys.iter().map(|key| (*key, 2)).collect();
    let group = group(&batches);
    let judgements = storage.judge(group.all()).unwrap();
    assert!(judgements.iter().all(|one| *one == Judgement::New), "{keys:?}: {judgements:?}");
    let (after, refused) = storage.append(ledger, group.all(), ledger.records).unwrap();
    assert!(refused.is_none(), "{refused:?}");
    after
}

/// Returns the judgement of one batch.
pub fn judge(storage: &Storage, key: BatchKey) -> Judgement {
    storage.judge(group(&[(key, 1)]).all()).unwrap()[0]
}

/// The number of stored batches per session.
pub type Stored = BTreeMap<u8, u64>;

/// Returns how many batches of each session `bets.csv` has. Fails if one is there twice, or in
/// part, or if one is missing before another. `bets` returns the number of bets of a batch.
pub fn stored(scratch: &Scratch, bets: impl Fn(u8, u64) -> usize) -> Stored {
    let mut rows: BTreeMap<(u8, u64), usize> = BTreeMap::new();
    for row in String::from_utf8(scratch.read("bets.csv")).unwrap().lines() {
        let mut name = row.split(',').nth(3).unwrap().split('-').map(|part| part.parse().unwrap());
        let (session, sequence) = (name.next().unwrap() as u8, name.next().unwrap());
        *rows.entry((session, sequence)).or_default() += 1;
    }
    let mut stored = Stored::new();
    for ((session, sequence), count) in rows {
        assert_eq!(count, bets(session, sequence), "bets of batch {sequence} of {session}");
        let last = stored.entry(session).or_default();
        assert_eq!(sequence, *last + 1, "batches of session {session}");
        *last = sequence;
    }
    stored
}

/// Asserts that the next batch of each of these sessions is new and the last one repeated.
pub fn assert_sessions(storage: &Storage, stored: &Stored, sessions: impl Iterator<Item = u8>) {
    for session in sessions {
        let last = stored.get(&session).copied().unwrap_or_default();
        let next = judge(storage, key(session, last + 1));
        assert_eq!(next, Judgement::New, "batch {} of session {session}", last + 1);
        if last > 0 {
            let repeated = judge(storage, key(session, last));
            assert_eq!(repeated, Judgement::Repeated, "batch {last} of session {session}");
        }
        let gap = judge(storage, key(session, last + 2));
        let expected = KeyRefused::Sequence { found: last + 2, expected: last + 1 };
        assert_eq!(gap, Judgement::Refused(expected), "session {session}");
    }
}
