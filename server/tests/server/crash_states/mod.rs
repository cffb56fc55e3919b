//! Power losses at every moment. A recorder writes down what a central does to its files, in
//! several runs under load. A simulated disk then loses what was not synced, in three models, and
//! the central must start on what is left: everything acknowledged with durability `disk` is stored
//! exactly once, nothing is stored in part, the totals are those of the files, and each session is
//! where its stored batches end.

mod check;
mod disk;
mod operations;
mod promises;
mod recording;
mod sessions;

use check::{Checker, Counts};
use disk::{Disk, MODELS, Model};
use promises::Promises;
use recording::{Recording, SUBJECTS, Subject};

use crate::harness::Random;

/// Environment variable with the number of states to check.
const STATES: &str = "CRASH_STATES";
/// States per subject of a normal run.
const FEW: usize = 30;
/// The same for a full journal, whose states are large.
const FEW_LARGE: usize = 9;
/// States per recording and model.
const PER_RECORDING: u64 = 100;

/// Names the state in the output of a failed check.
struct OnPanic(String);

impl Drop for OnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("{}", self.0);
        }
    }
}

/// Checks crash states of recordings about this subject.
fn check(subject: Subject) {
    let given: Option<usize> = std::env::var(STATES).ok().and_then(|text| text.parse().ok());
    let few = if subject == Subject::FullJournal { FEW_LARGE } else { FEW };
    let wanted = given.map_or(few, |states| states.div_ceil(SUBJECTS.len()));
    let mut random = Random::seeded();
    let Some(mut checker) = Checker::new() else { return };
    while checker.counts.states < wanted {
        let Some(recording) = Recording::new(subject, &mut random) else { return };
        let missing = (wanted - checker.counts.states) as u64;
        let states = (missing / MODELS.len() as u64 + 1).min(PER_RECORDING);
        for model in MODELS {
            replay(&recording, model, states, &mut checker, &mut random);
        }
    }
    let Counts { states, nested, refused, batches } = checker.counts;
    println!(
        "crash states of {subject:?}: {states}, {nested} of them with another loss in recovery, \
         {refused} refused; {batches} acknowledged batches, 0 lost, 0 doubled, 0 torn"
    );
}

/// Replays a recording on a simulated disk, and checks what a power loss leaves at some moments.
fn replay(
    recording: &Recording,
    model: Model,
    states: u64,
    checker: &mut Checker,
    random: &mut Random,
) {
    let mut disk = Disk::new(model, &recording.before);
    let mut promises = Promises::default();
    let count = recording.operations.len();
    let mut moments: Vec<_> = (0..states).map(|_| random.below(count as u64) as usize).collect();
    moments.sort_unstable();
    let mut moments = moments.into_iter().peekable();
    for (position, operation) in recording.operations.iter().enumerate() {
        disk.perform(operation, random);
        promises.observe(position, recording);
        while moments.next_if_eq(&position).is_some() {
            let (files, choice) = disk.crash(random);
            let action = format!("{:.60}", format!("{:?}", operation.action));
            let name = &operation.name;
            let _context = OnPanic(format!(
                "{model:?}, after operation {position} of {count} ({action} {name}): {choice}"
            ));
            checker.check(&files, model, &promises, recording, random);
        }
    }
}

#[test]
fn a_power_loss_at_any_moment_loses_nothing_acknowledged_with_durability_disk() {
    check(Subject::Disk);
}

#[test]
fn a_power_loss_after_a_change_of_durability_loses_nothing_acknowledged_with_durability_disk() {
    check(Subject::ChangedDurability);
}

#[test]
fn a_power_loss_after_a_failed_sync_loses_nothing_acknowledged() {
    check(Subject::FailedSync);
}

#[test]
fn a_power_loss_around_a_full_journal_loses_nothing_acknowledged() {
    check(Subject::FullJournal);
}
