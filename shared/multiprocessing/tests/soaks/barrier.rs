//! Barriers whose parties are killed.

use std::time::{Duration, Instant};

use multiprocessing::{
    Barrier, BarrierError, BreakCause, Plan, Process, RawArray, RawValue, Segment,
};

use crate::common::{
    Random, apply, child, fact, kill_and_join, kill_at_work, kills, reap, segment, sleep_for_ever,
    soak, wait_until,
};

fn broken_by(cause: BreakCause) -> Result<usize, BarrierError> {
    Err(BarrierError::Broken(cause))
}

const PARTIES: usize = 4;

/// A barrier whose parties report what they see.
struct Meeting {
    _segment: Segment,
    meet: Barrier,
    /// Rounds that each party completed since the last break.
    rounds: RawArray<u64>,
    /// The epoch in which each party last got an error, plus 1.
    reported: RawArray<u64>,
    /// Raised by the test when the parties shall go on after a break.
    epoch: RawValue<u64>,
}

impl Meeting {
    fn new() -> Self {
        // There is little room, which rows left by dead parties would fill.
        let plan = Plan::new().participants(2 * PARTIES).barrier("meet", PARTIES);
        let plan = plan.raw_array::<u64>("rounds", PARTIES).raw_array::<u64>("reported", PARTIES);
        let segment = segment(&plan.raw_value::<u64>("epoch"));
        Self {
            meet: segment.barrier("meet").unwrap(),
            rounds: segment.raw_array("rounds").unwrap(),
            reported: segment.raw_array("reported").unwrap(),
            epoch: segment.raw_value("epoch").unwrap(),
            _segment: segment,
        }
    }

    /// Starts a party that waits at the barrier again and again.
    fn party(&self, number: usize) -> Process {
        let party = child(|| {
            loop {
                match self.meet.wait() {
                    Ok(_) => _ = self.rounds.fetch_add(number, 1),
                    Err(BarrierError::Broken(_)) => {
                        let seen = self.epoch.load();
                        self.reported.store(number, seen + 1);
                        wait_until("the next epoch", || self.epoch.load() > seen);
                    }
                    Err(error) => panic!("{error}"),
                }
            }
        });
        self.meet.enrol(party.pid()).unwrap();
        party
    }

    /// Waits until all survivors of an epoch got an error.
    fn wait_for_errors(&self, survivors: &[usize], epoch: u64) {
        wait_until("all survivors get an error", || {
            survivors.iter().all(|&survivor| self.reported.load(survivor) == epoch + 1)
        });
    }

    /// Returns the rounds that the survivors completed, after checking that they agree.
    fn common_rounds(&self, survivors: &[usize]) -> u64 {
        let rounds: Vec<_> = survivors.iter().map(|&survivor| self.rounds.load(survivor)).collect();
        let same = rounds.iter().all(|&completed| completed == rounds[0]);
        assert!(same, "rounds completed for some: {rounds:?}");
        rounds[0]
    }
}

/// Kills parties at random moments. Every survivor gets an error, and each round completes for all
/// survivors or for none.
#[apply(soak)]
fn every_round_completes_for_all_parties_or_for_none_and_no_survivor_hangs() {
    let meeting = Meeting::new();
    let meet = &meeting.meet;
    let mut random = Random::new();
    let mut parties: Vec<_> = (0..PARTIES).map(|number| meeting.party(number)).collect();
    let (mut completed, mut found) = (0, 0);
    let mut longest = Duration::ZERO;
    let (kills, mut killed) = (kills(300), 0);
    while killed < kills {
        random.pause(Duration::from_millis(1));
        let first = random.below(PARTIES as u64) as usize;
        let victims = [first, (first + 1) % PARTIES];
        let victims = &victims[..1 + random.below(2) as usize];
        let survivors: Vec<_> = (0..PARTIES).filter(|party| !victims.contains(party)).collect();
        victims.iter().for_each(|&victim| kill_at_work(&mut parties[victim]));
        let begun = Instant::now();
        // Usually the parent, which knows first, aborts the barrier. Otherwise the survivors find
        // out by their checks.
        let helped = killed > 0 && random.below(20) > 0;
        if helped {
            meet.abort().unwrap();
        }
        let now = meeting.epoch.load();
        meeting.wait_for_errors(&survivors, now);
        if !helped {
            let expected = victims.iter().any(|&victim| {
                meet.wait() == broken_by(BreakCause::PartyDied(parties[victim].pid()))
            });
            assert!(expected, "{meet}");
            found += 1;
            longest = longest.max(begun.elapsed());
        }
        completed += meeting.common_rounds(&survivors);
        victims.iter().for_each(|&victim| reap(&mut parties[victim]));
        (0..PARTIES).for_each(|party| meeting.rounds.store(party, 0));
        meet.reset().unwrap();
        victims.iter().for_each(|&victim| parties[victim] = meeting.party(victim));
        meeting.epoch.store(now + 1);
        killed += victims.len() as u32;
    }
    parties.into_iter().for_each(kill_and_join);
    meet.reset().unwrap();
    dead_parties_leave_room(meet);
    assert!(completed > 0 && found > 0);
    fact("rounds", completed);
    fact("recoveries", found);
    fact("longest_ms", longest.as_millis());
}

/// Checks that there is as much room for parties as at first.
fn dead_parties_leave_room(meet: &Barrier) {
    let last: Vec<_> = (0..2 * PARTIES).map(|_| child(|| sleep_for_ever())).collect();
    last.iter().for_each(|party| meet.enrol(party.pid()).unwrap());
    assert_eq!(meet.wait(), Err(BarrierError::Full));
    last.into_iter().for_each(kill_and_join);
}
