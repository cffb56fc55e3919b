//! Power losses at every moment of runs that store keyed batches. A recorder writes down what the
//! storage does to its files. A simulated disk then loses what was not synced, in three models, and
//! the next start must have each acknowledged batch once, and sessions that match the batches.

#[path = "../../../tests/server/crash_states/disk.rs"]
mod disk;
#[expect(dead_code, reason = "the recorder of a central reads these operations from a file")]
#[path = "../../../tests/server/crash_states/operations.rs"]
mod operations;
#[expect(dead_code, reason = "tests of a central pause at random")]
#[path = "../../../tests/server/harness/random.rs"]
mod random;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::rc::Rc;

use nix::errno::Errno;

use crate::storage::file::Operation as Performed;
use crate::storage::file::interposed::interpose;
use crate::storage::{Durability, Ledger, Storage, StorageError};

use self::disk::{Disk, MODELS, Model};
use self::operations::{Action, Operation};
use self::random::Random;
use super::keys::{Stored, assert_sessions, group, key, store, stored};
use super::scratch::{Contents, Scratch, finish};

/// Sessions whose batches are stored, and some that have none.
const SESSIONS: std::ops::Range<u8> = 1..9;
/// Commits of a run.
const COMMITS: u64 = 12;
/// Environment variable with the number of states to check.
const STATES: &str = "CRASH_STATES";
/// States per subject of a normal run.
const FEW: u64 = 90;
/// States per recording and model.
const PER_RECORDING: u64 = 10;

/// What a recording is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Subject {
    /// Runs with durability `disk`.
    Disk,
    /// Later runs have any durability.
    ChangedDurability,
    /// A sync fails in each run but the last.
    FailedSync,
}

/// What must be stored after a power loss at some moment.
#[derive(Clone, Debug, Default)]
struct Promise {
    /// Operations before it.
    position: usize,
    /// Batches that must be stored.
    kept: Stored,
    /// True if a start may refuse the files.
    may_refuse: bool,
}

/// A recorded history.
struct Recording {
    before: Contents,
    operations: Vec<Operation>,
    promises: Vec<Promise>,
    /// Bets of each batch.
    bets: BTreeMap<(u8, u64), usize>,
}

/// Records the operations of this thread until it is dropped, and lets a sync fail.
#[derive(Clone, Debug, Default)]
struct Recorder {
    operations: Rc<RefCell<Vec<Operation>>>,
    /// Syncs until one fails.
    failing: Rc<RefCell<Option<u64>>>,
}

impl Recorder {
    fn observe(&self, performed: &Performed<'_>) -> io::Result<()> {
        let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
        let push = |action, name| {
            self.operations.borrow_mut().push(Operation { action, name, pid: 0 });
        };
        let create = |path: &Path| {
            let name = name(path);
            if name.ends_with(".new") || name.contains(".cut-") {
                push(Action::Create, name);
            }
        };
        match performed {
            Performed::Write { path, bytes, offset } => {
                push(Action::Write(*offset, bytes.to_vec()), name(path));
            }
            Performed::SetLength { path, length } => {
                create(path);
                push(Action::Truncate(*length), name(path));
            }
            Performed::Reserve { path, length } => {
                if fs::metadata(path)?.len() < *length {
                    push(Action::Truncate(*length), name(path));
                }
            }
            // The disk may have the bytes earlier, as it may anyway.
            Performed::StartWriting { .. } => {}
            // A power loss takes what is in memory, whatever it is.
            Performed::Store { .. } => {}
            Performed::Rename { from, to } => push(Action::Rename(name(to)), name(from)),
            Performed::Sync { path } => {
                push(Action::SyncBegins, name(path));
                let mut failing = self.failing.borrow_mut();
                if *failing == Some(0) {
                    *failing = None;
                    push(Action::SyncFails, name(path));
                    return Err(Errno::EIO.into());
                }
                *failing = failing.map(|syncs| syncs - 1);
                push(Action::SyncEnds, name(path));
            }
            Performed::SyncDirectory { path } => {
                // The directories above it do not change.
                if path.join("journal").exists() || path.join("sessions").exists() {
                    push(Action::SyncBegins, ".".to_owned());
                    push(Action::SyncEnds, ".".to_owned());
                }
            }
        }
        Ok(())
    }
}

impl Recording {
    fn new(subject: Subject, random: &mut Random) -> Self {
        let scratch = Scratch::new();
        let (storage, recovery) = scratch.open(Durability::Disk).unwrap();
        storage.close(recovery.ledger).unwrap();
        drop(storage);
        let recorder = Recorder::default();
        let mut recording = Self {
            before: scratch.contents(),
            operations: Vec::new(),
            promises: vec![Promise::default()],
            bets: BTreeMap::new(),
        };
        let shared = recorder.clone();
        let interposed = interpose(move |operation| shared.observe(operation));
        let runs = 2 + random.below(3);
        for run in 0..runs {
            let changes = subject == Subject::ChangedDurability && run > 0;
            let durable = !changes || random.below(2) == 0;
            let durability = if durable { Durability::Disk } else { Durability::Process };
            if subject == Subject::FailedSync && run + 1 < runs {
                *recorder.failing.borrow_mut() = Some(random.below(3 * COMMITS));
            }
            recording.promise(&recorder, |promise| promise.may_refuse |= !durable);
            if let Ok((storage, ledger)) = recording.start(&scratch, durability, &recorder) {
                let ended = recording.load(storage, ledger, durability, &recorder, random);
                assert!(ended.is_ok() || subject == Subject::FailedSync, "{ended:?}");
            }
            *recorder.failing.borrow_mut() = None;
        }
        drop(interposed);
        recording.operations = recorder.operations.take();
        // The record must have every change: the simulated cache holds what the files hold.
        let mut disk = Disk::new(Model::Ordered, &recording.before);
        recording.operations.iter().for_each(|operation| disk.perform(operation, random));
        assert!(disk.seen() == scratch.contents(), "the record lacks a change");
        recording
    }

    /// Adds what is promised from now on.
    fn promise(&mut self, recorder: &Recorder, change: impl FnOnce(&mut Promise)) {
        let mut promise = self.promises[self.promises.len() - 1].clone();
        promise.position = recorder.operations.borrow().len();
        change(&mut promise);
        self.promises.push(promise);
    }

    fn start(
        &mut self,
        scratch: &Scratch,
        durability: Durability,
        recorder: &Recorder,
    ) -> Result<(Storage, Ledger), StorageError> {
        let (storage, recovery) = scratch.open_keyed(durability)?;
        if durability == Durability::Disk {
            // A central with durability `disk` has made everything durable that it counts.
            let kept = stored(scratch, |session, sequence| self.bets[&(session, sequence)]);
            self.promise(recorder, |promise| {
                *promise = Promise { kept, may_refuse: false, ..promise.clone() };
            });
        }
        Ok((storage, recovery.ledger))
    }

    /// Stores groups of batches, each of which is acknowledged after it.
    fn load(
        &mut self,
        mut storage: Storage,
        mut ledger: Ledger,
        durability: Durability,
        recorder: &Recorder,
        random: &mut Random,
    ) -> Result<(), StorageError> {
        let known = |storage: &Storage, session| {
            let last = (0..).find(|sequence| {
                let next = group(&[(key(session, sequence + 1), 1)]);
                storage.judge(next.all()).unwrap()[0] == crate::storage::Judgement::New
            });
            last.unwrap()
        };
        let mut last: Stored =
            SESSIONS.map(|session| (session, known(&storage, session))).collect();
        for _ in 0..random.below(COMMITS) {
            let durable = ledger.records;
            if random.below(5) == 0 {
                ledger = finish(&mut storage, ledger, random.below(9) as u16);
            }
            let mut batches = Vec::new();
            for _ in 0..=random.below(4) {
                let session = random.pick(&[1, 2, 3, 4, 5, 6]);
                let next = last.get_mut(&session).unwrap();
                *next += 1;
                // The largest do not fit into the journal of a unit test.
                let limit = random.pick(&[3, 100, 1000, 3000]);
                let bets = 1 + random.below(limit);
                batches.push((key(session, *next), bets as usize));
                self.bets.insert((session, *next), bets as usize);
            }
            let all = group(&batches);
            let (after, refused) = storage.append(ledger, all.all(), durable)?;
            assert!(refused.is_none(), "{refused:?}");
            ledger = after;
            if durability == Durability::Disk {
                storage.sync()?;
                let kept = last.clone();
                self.promise(recorder, |promise| promise.kept = kept);
            }
        }
        if random.below(2) == 0 {
            storage.close(ledger)?;
        }
        Ok(())
    }

    /// Replays the history on a simulated disk, and checks what a power loss leaves.
    fn replay(&self, model: Model, checked: &Scratch, random: &mut Random) {
        let mut disk = Disk::new(model, &self.before);
        let count = self.operations.len();
        let mut moments: Vec<_> =
            (0..PER_RECORDING).map(|_| 1 + random.below(count as u64) as usize).collect();
        moments.sort_unstable();
        let mut moments = moments.into_iter().peekable();
        for (position, operation) in (1..).zip(&self.operations) {
            disk.perform(operation, random);
            while moments.next_if_eq(&position).is_some() {
                let promise = self.promises.iter().rev().find(|one| one.position <= position);
                let (files, choice) = disk.crash(random);
                println!("{model:?}, after operation {position} of {count}: {choice}");
                self.check(&files, model, promise.unwrap(), checked, random);
            }
        }
    }

    /// Starts on what a power loss has left. Another power loss may come during the start.
    fn check(
        &self,
        files: &Contents,
        model: Model,
        promise: &Promise,
        scratch: &Scratch,
        random: &mut Random,
    ) {
        scratch.restore(files);
        let recorder = Recorder::default();
        let shared = recorder.clone();
        let interposed = interpose(move |operation| shared.observe(operation));
        let opened = scratch.try_open_after_reboot(Durability::Disk);
        drop(interposed);
        self.check_opened(opened, promise, scratch, random.below(3) == 0);
        let operations = recorder.operations.take();
        for _ in 0..2 {
            let mut disk = Disk::new(model, files);
            let some = random.below(operations.len() as u64 + 1) as usize;
            operations[..some].iter().for_each(|operation| disk.perform(operation, random));
            let (files, choice) = disk.crash(random);
            println!("then after operation {some} of the start: {choice}");
            scratch.restore(&files);
            let opened = scratch.try_open_after_reboot(Durability::Disk);
            self.check_opened(opened, promise, scratch, false);
        }
    }

    fn check_opened(
        &self,
        opened: Result<(Storage, crate::storage::Recovery), StorageError>,
        promise: &Promise,
        scratch: &Scratch,
        goes_on: bool,
    ) {
        let (mut storage, recovery) = match opened {
            Ok(opened) => opened,
            Err(refused) => return assert!(promise.may_refuse, "{refused}"),
        };
        let bets = |session, sequence| self.bets.get(&(session, sequence)).copied().unwrap_or(2);
        let found = stored(scratch, bets);
        for (session, kept) in &promise.kept {
            let last = found.get(session).copied().unwrap_or_default();
            assert!(last >= *kept, "session {session} has {last} batches of {kept}");
        }
        if recovery.ledger.bets > 0 || scratch.path("sessions").exists() {
            assert_sessions(&storage, &found, SESSIONS);
        }
        if goes_on && scratch.path("sessions").exists() {
            let next = |session| found.get(&session).copied().unwrap_or_default() + 1;
            let keys: Vec<_> =
                [7, 8].into_iter().map(|session| key(session, next(session))).collect();
            store(&mut storage, recovery.ledger, &keys);
            drop(storage);
            let (storage, _) = scratch.open(Durability::Disk).unwrap();
            assert_sessions(&storage, &stored(scratch, bets), SESSIONS);
        }
    }
}

fn check(subject: Subject) {
    let mut random = Random::seeded();
    let checked = Scratch::new();
    let given = std::env::var(STATES).ok().and_then(|text| text.parse().ok());
    for _ in 0..given.unwrap_or(FEW).div_ceil(PER_RECORDING * MODELS.len() as u64) {
        let recording = Recording::new(subject, &mut random);
        for model in MODELS {
            recording.replay(model, &checked, &mut random);
        }
    }
}

#[test]
fn after_any_power_loss_with_durability_disk_the_sessions_match_the_stored_batches() {
    check(Subject::Disk);
}

#[test]
fn after_a_change_of_durability_a_power_loss_leaves_sessions_that_match_or_is_refused() {
    check(Subject::ChangedDurability);
}

#[test]
fn after_a_failed_sync_and_a_power_loss_the_sessions_match_the_stored_batches() {
    check(Subject::FailedSync);
}
