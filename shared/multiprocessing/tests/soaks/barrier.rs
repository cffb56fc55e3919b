//! Barriers whose parties are killed.

use std::time::{Duration, Instant};

use multiprocessing::{BarrierError, BreakCause, Plan};

use crate::common::{
    Random, apply, child, fact, kill_and_join, kill_at_work, kills, reap, segment, sleep_for_ever,
    soak, wait_until,
};

fn broken_by(cause: BreakCause) -> Result<usize, BarrierError> {
    Err(BarrierError::Broken(cause))
}

/// Kills parties at random moments. Every survivor gets an error, and each round completes for all
/// survivors or for none.
#[apply(soak)]
fn every_round_completes_for_all_parties_or_for_none_and_no_survivor_hangs() {
    const PARTIES: usize = 4;
    // There is little room, which rows left by dead parties would fill.
    let plan = Plan::new().participants(2 * PARTIES).barrier("meet", PARTIES);
    let plan = plan.raw_array::<u64>("rounds", PARTIES).raw_array::<u64>("reported", PARTIES);
    let segment = segment(&plan.raw_value::<u64>("epoch"));
    let meet = segment.barrier("meet").unwrap();
    let rounds = segment.raw_array::<u64>("rounds").unwrap();
    let reported = segment.raw_array::<u64>("reported").unwrap();
    let epoch = segment.raw_value::<u64>("epoch").unwrap();
    let party = |number: usize| {
        let party = child(|| {
            loop {
                match meet.wait() {
                    Ok(_) => _ = rounds.fetch_add(number, 1),
                    Err(BarrierError::Broken(_)) => {
                        let seen = epoch.load();
                        reported.store(number, seen + 1);
                        wait_until("the next epoch", || epoch.load() > seen);
                    }
                    Err(error) => panic!("{error}"),
                }
            }
        });
        meet.enrol(party.pid()).unwrap();
        party
    };
    let mut random = Random::new();
    let mut parties: Vec<_> = (0..PARTIES).map(party).collect();
    let (mut completed, mut found) = (0, 0);
    let mut longest = Duration::ZERO;
    let (kills, mut killed) = (kills(300), 0);
    while killed < kills {
        random.pause(Duration::from_millis(1));
        let first = random.below(PARTIES as u64) as usize;
        let victims = [first, (first + 1) % PARTIES];
        let victims = &victims[..1 + random.below(2) as usize];
        victims.iter().for_each(|&victim| kill_at_work(&mut parties[victim]));
        let begun = Instant::now();
        // Usually the parent, which knows first, aborts the barrier. Otherwise the survivors find
        // out by their checks.
        let helped = killed > 0 && random.below(20) > 0;
        if helped {
            meet.abort().unwrap();
        }
        let now = epoch.load();
        let survivors = || (0..PARTIES).filter(|party| !victims.contains(party));
        wait_until("all survivors get an error", || {
            survivors().all(|survivor| reported.load(survivor) == now + 1)
        });
        if !helped {
            let expected = victims.iter().any(|&victim| {
                meet.wait() == broken_by(BreakCause::PartyDied(parties[victim].pid()))
            });
            assert!(expected, "{meet}");
            found += 1;
            longest = longest.max(begun.elapsed());
        }
        let common: Vec<_> = survivors().map(|survivor| rounds.load(survivor)).collect();
        assert!(
            common.iter().all(|&rounds| rounds == common[0]),
            "rounds completed for some: {common:?}"
        );
        completed += common[0];
        victims.iter().for_each(|&victim| reap(&mut parties[victim]));
        (0..PARTIES).for_each(|party| rounds.store(party, 0));
        meet.reset().unwrap();
        victims.iter().for_each(|&victim| parties[victim] = party(victim));
        epoch.store(now + 1);
        killed += victims.len() as u32;
    }
    parties.into_iter().for_each(kill_and_join);
    meet.reset().unwrap();
    // Dead parties leave no trace: there is as much room as at first.
    let last: Vec<_> = (0..2 * PARTIES).map(|_| child(|| sleep_for_ever())).collect();
    last.iter().for_each(|party| meet.enrol(party.pid()).unwrap());
    assert_eq!(meet.wait(), Err(BarrierError::Full));
    last.into_iter().for_each(kill_and_join);
    assert!(completed > 0 && found > 0);
    fact("rounds", completed);
    fact("recoveries", found);
    fact("longest_ms", longest.as_millis());
}
