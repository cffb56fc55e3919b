//! DOC

use std::time::{Duration, Instant};

use multiprocessing::{BarrierError, BreakCause, Plan};

use crate::common::{
    Random, apply, child, fact, kill_and_join, kill_at_work, kills, reap, segment, sleep_for_ever,
    soak, wait_until,
};

fn broken_by(cause: BreakCause) -> Result<usize, BarrierError> {
    Err(BarrierError::Broken(cause))
}

/// Parties are killed at random moments. Every survivor is told, and each round was completed for all of them or for none.
#[apply(soak)]
fn every_round_is_completed_for_all_or_for_none_and_nobody_hangs_whoever_is_killed() {
    const PARTIES: usize = 4;
    // Little room: rows that the dead leave would fill it.
    let plan = Plan::new().participants(2 * PARTIES).barrier("meet", PARTIES);
    let plan = plan.raw_array::<u64>("rounds", PARTIES).raw_array::<u64>("told", PARTIES);
    let segment = segment(&plan.raw_value::<u64>("epoch"));
    let meet = segment.barrier("meet").unwrap();
    let rounds = segment.raw_array::<u64>("rounds").unwrap();
    let told = segment.raw_array::<u64>("told").unwrap();
    let epoch = segment.raw_value::<u64>("epoch").unwrap();
    let party = |number: usize| {
        let party = child(|| {
            loop {
                match meet.wait() {
                    Ok(_) => _ = rounds.fetch_add(number, 1),
                    Err(BarrierError::Broken(_)) => {
                        let seen = epoch.load();
                        told.store(number, seen + 1);
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
        // Most of the time their parent, who knows first, tells; else the survivors find out.
        let helped = killed > 0 && random.below(20) > 0;
        if helped {
            meet.abort().unwrap();
        }
        let now = epoch.load();
        let survivors = || (0..PARTIES).filter(|party| !victims.contains(party));
        wait_until("all survivors are told", || {
            survivors().all(|survivor| told.load(survivor) == now + 1)
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
    // No trace of the dead is left: there is room for as many as there was at first.
    let last: Vec<_> = (0..2 * PARTIES).map(|_| child(|| sleep_for_ever())).collect();
    last.iter().for_each(|party| meet.enrol(party.pid()).unwrap());
    assert_eq!(meet.wait(), Err(BarrierError::Full));
    last.into_iter().for_each(kill_and_join);
    assert!(completed > 0 && found > 0);
    fact("rounds", completed);
    fact("recoveries", found);
    fact("longest_ms", longest.as_millis());
}
