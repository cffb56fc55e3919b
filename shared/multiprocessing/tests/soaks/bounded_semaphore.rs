//! Bounded semaphores whose units are forgotten by processes that are killed.

use std::cell::Cell;

use multiprocessing::{Plan, SemaphoreError};

use crate::common::{apply, child, fact, kills, linger, rest, segment, soak};
use crate::semaphore::{Soak, check_reports, shown};

/// One of the victims forgets its permit and releases the unit later. The unit is missing in
/// between. When the victim is killed, there is room for this unit and for no other.
#[apply(soak)]
fn room_for_every_unit_remains_when_processes_are_killed_before_their_release() {
    const UNITS: u64 = 2;
    let plan = Soak::planned(Plan::new()).raw_value::<u8>("hand").bounded_semaphore("gate", UNITS);
    let segment = segment(&plan);
    let gate = segment.bounded_semaphore("gate").unwrap();
    let soak = Soak::new(&segment, &gate);
    // What the forgetting process announces: nothing, about to forget, forgotten, about to release.
    let hand = segment.raw_value::<u8>("hand").unwrap();
    let forgotten = Cell::new(0);
    let missing = || {
        let [free, held, _] = shown(&gate);
        UNITS - free - held
    };
    let make_up = || {
        let missing = missing();
        let possible = [0..=0, 0..=1, 1..=1, 0..=1][usize::from(hand.load())].clone();
        assert!(
            possible.contains(&missing),
            "{missing} missing at stage {}: {gate:?}",
            hand.load()
        );
        gate.release(missing).unwrap();
        let too_many = SemaphoreError::TooMany { released: 1, most: UNITS };
        assert_eq!(gate.release(1), Err(too_many));
        hand.store(0);
        forgotten.set(forgotten.get() + missing);
    };
    let forgetter = || {
        make_up();
        child(|| {
            for step in 0.. {
                let permit = gate.acquire().unwrap();
                hand.store(1);
                permit.forget();
                hand.store(2);
                linger(step);
                hand.store(3);
                gate.release(1).unwrap();
                hand.store(0);
                rest(step);
            }
        })
    };
    let (victim, hoarder) = (|| soak.victim(), || soak.hoarder());
    soak.run(kills(300), &[&victim, &forgetter, &victim, &hoarder, &victim, &victim], || {
        assert!(missing() <= 1, "{gate:?}")
    });
    make_up();
    check_reports(soak.recover_all());
    fact("forgotten", forgotten.get());
}
