//! Scenarios of the barrier: what Python asserts of it, and parties that are killed.

use std::time::{Duration, Instant};

use multiprocessing::{Barrier, BarrierError, BreakCause, Plan, Process, Segment};

use crate::tools::{
    LIMIT, Random, child, fact, join_all, keeps_time, kill_and_join, kills, reap, segment,
    sleep_for_ever, strike, wait_until, wait_until_blocked, waits_idly,
};

/// A barrier, numbers for the parties, and one number more.
fn barrier(parties: usize) -> (Segment, Barrier) {
    let plan = Plan::new().barrier("meet", parties).raw_array::<u64>("numbers", parties);
    let segment = segment(&plan.raw_value::<u64>("number"));
    let barrier = segment.barrier("meet").unwrap();
    (segment, barrier)
}

fn children(count: usize, body: impl Fn(usize)) -> Vec<Process> {
    (0..count).map(|number| child(|| body(number))).collect()
}

fn broken_by(cause: BreakCause) -> Result<usize, BarrierError> {
    Err(BarrierError::Broken(cause))
}

/// _TestBarrier.test_barrier, test_barrier_10, test_wait_return, test_single_thread and test_thousand.
pub fn rounds() {
    const ROUNDS: u64 = 1000;
    let (segment, meet) = barrier(5);
    let numbers = segment.raw_array::<u64>("numbers").unwrap();
    let leaders = segment.raw_value::<u64>("number").unwrap();
    assert_eq!((meet.parties(), meet.n_waiting(), meet.is_broken()), (5, 0, false));
    let parties = children(5, |number| {
        for round in 1..=ROUNDS {
            numbers.store(number, round);
            let index = meet.wait().unwrap();
            assert!(index < 5);
            leaders.fetch_add(u64::from(index == 0));
            // Nobody is behind, and nobody more than one round ahead.
            assert!(
                numbers.iter().all(|other| other == round || other == round + 1),
                "{numbers:?}"
            );
            meet.wait().unwrap();
            // All have told, and none goes on to tell of the next round before this one has come again.
            assert_eq!(leaders.load(), round);
        }
    });
    join_all(parties);
    assert_eq!((meet.n_waiting(), meet.is_broken()), (0, false));

    // Their successors, for they have ended in order; they are waited for as they come.
    let parties = children(4, |_| assert!(meet.wait().is_ok()));
    parties.iter().for_each(|party| wait_until_blocked(party.pid()));
    assert_eq!((meet.n_waiting(), format!("{meet:?}")), (4, "Barrier(4 of 5 wait)".to_owned()));
    assert_eq!(meet.wait(), Ok(4));
    join_all(parties);

    let name = multiprocessing::SegmentName::new(&format!("{}.alone", segment.name())).unwrap();
    let alone = Segment::create(&name, &Plan::new().barrier("alone", 1)).unwrap();
    let alone = alone.barrier("alone").unwrap();
    assert_eq!((alone.wait(), alone.wait_timeout(Duration::ZERO)), (Ok(0), Ok(0)));
}

/// _TestBarrier.test_action.
pub fn action() {
    const ROUNDS: u64 = 100;
    let (segment, meet) = barrier(3);
    let actions = segment.raw_value::<u64>("number").unwrap();
    let counted = actions.clone();
    let counts = meet.clone().with_action(move || {
        counted.fetch_add(1);
    });
    join_all(children(3, |_| {
        for round in 1..=ROUNDS {
            counts.wait().unwrap();
            // It ran before anybody went on, and the next one runs only when all have come again.
            assert!([round, round + 1].contains(&actions.load()));
        }
    }));
    assert_eq!(actions.load(), ROUNDS);

    // One that panics breaks the barrier; the panic is its process's.
    let panics = meet.clone().with_action(|| panic!("the action's last words"));
    let others = children(2, |_| assert_eq!(meet.wait(), broken_by(BreakCause::ActionFailed)));
    others.iter().for_each(|other| wait_until_blocked(other.pid()));
    let mut last = child(|| _ = panics.wait());
    assert_eq!(last.join_timeout(LIMIT).unwrap().unwrap().to_string(), "exit code 101");
    join_all(others);
    meet.reset().unwrap();

    // One that is killed in it breaks it as well, also for one too many that came while it ran.
    let slow = meet.clone().with_action(|| sleep_for_ever());
    let others = children(2, |_| assert!(matches!(meet.wait(), Err(BarrierError::Broken(_)))));
    others.iter().for_each(|other| wait_until_blocked(other.pid()));
    let acting = child(|| _ = slow.wait());
    wait_until("the action runs", || meet.n_waiting() == 3);
    let fourth = child(|| assert!(matches!(meet.wait(), Err(BarrierError::Broken(_)))));
    wait_until_blocked(fourth.pid());
    let pid = acting.pid();
    kill_and_join(acting);
    join_all(others.into_iter().chain([fourth]));
    assert_eq!(meet.wait(), broken_by(BreakCause::PartyDied(pid)));
}

/// _TestBarrier.test_abort, test_reset, test_abort_and_reset, test_timeout and test_default_timeout.
pub fn broken() {
    let (_segment, meet) = barrier(5);
    let thrown_out = |cause: BreakCause, breaks: &dyn Fn()| {
        let waiting = children(4, |_| assert_eq!(meet.wait(), broken_by(cause)));
        waiting.iter().for_each(|party| wait_until_blocked(party.pid()));
        breaks();
        join_all(waiting);
        assert_eq!(meet.n_waiting(), 0);
    };
    let works = || {
        assert!(!meet.is_broken());
        join_all(children(5, |_| assert!(meet.wait().is_ok())));
    };
    thrown_out(BreakCause::Aborted, &|| meet.abort().unwrap());
    assert_eq!(meet.wait(), broken_by(BreakCause::Aborted));
    assert_eq!((meet.is_broken(), format!("{meet}")), (true, "broken: it was aborted".to_owned()));
    meet.reset().unwrap();
    works();
    thrown_out(BreakCause::Reset, &|| meet.reset().unwrap());
    works();

    // Four wait, one of them not for ever; the fifth comes too late.
    let limit = Duration::from_millis(100);
    let limited = meet.clone().with_timeout(limit);
    for timed in [&meet, &limited] {
        let waiting = children(3, |_| assert_eq!(meet.wait(), broken_by(BreakCause::TimedOut)));
        waiting.iter().for_each(|party| wait_until_blocked(party.pid()));
        let begun = Instant::now();
        let outcome =
            if std::ptr::eq(timed, &meet) { timed.wait_timeout(limit) } else { timed.wait() };
        assert_eq!(outcome, broken_by(BreakCause::TimedOut));
        assert!(begun.elapsed() >= limit);
        join_all(waiting);
        assert_eq!(meet.wait(), broken_by(BreakCause::TimedOut));
        meet.reset().unwrap();
    }
    // A limit that all have inherited.
    join_all(children(4, |_| assert_eq!(limited.wait(), broken_by(BreakCause::TimedOut))));
    assert_eq!(limited.wait(), broken_by(BreakCause::TimedOut));
    meet.reset().unwrap();
    works();
}

pub fn death() {
    let (segment, meet) = barrier(3);
    let number = segment.raw_value::<u64>("number").unwrap();
    let told = |dying: Process, survivors: usize| {
        let pid = dying.pid();
        let survivors =
            children(survivors, |_| assert_eq!(meet.wait(), broken_by(BreakCause::PartyDied(pid))));
        survivors.iter().for_each(|survivor| wait_until_blocked(survivor.pid()));
        let killed = Instant::now();
        kill_and_join(dying);
        join_all(survivors);
        fact("told_ms", killed.elapsed().as_millis());
        assert_eq!(format!("{meet}"), format!("broken: a party was killed ({pid})"));
        meet.reset().unwrap();
    };
    // One that waits. Only the first of these lines is the test's; all are asserted to be told at all.
    let waiting = child(|| _ = meet.wait());
    wait_until_blocked(waiting.pid());
    told(waiting, 1);

    // One that was there in the last round, and is busy elsewhere.
    let busy = child(|| {
        meet.wait().unwrap();
        number.store(1);
        sleep_for_ever();
    });
    join_all(children(2, |_| assert!(meet.wait().is_ok())));
    wait_until("it has gone on", || number.load() == 1);
    told(busy, 2);

    // One that has not come yet, and was enrolled by its parent.
    let late = child(|| sleep_for_ever());
    meet.enrol(late.pid()).unwrap();
    told(late, 2);
    let dead = child(|| ());
    let pid = dead.pid();
    join_all([dead]);
    assert_eq!(meet.enrol(pid), broken_by(BreakCause::PartyDied(pid)).map(drop));
    assert_eq!(meet.wait(), broken_by(BreakCause::PartyDied(pid)));
    meet.reset().unwrap();

    // One that was there once and others came in its place is no party any more.
    number.store(0);
    let former = child(|| {
        meet.wait().unwrap();
        number.store(1);
        sleep_for_ever();
    });
    join_all(children(2, |_| assert!(meet.wait().is_ok())));
    wait_until("it has gone on", || number.load() == 1);
    join_all(children(3, |_| (0..2).for_each(|_| assert!(meet.wait().is_ok()))));
    kill_and_join(former);
    let patient = child(|| assert!(meet.wait().is_ok()));
    std::thread::sleep(Duration::from_millis(400)); // Long enough for several looks around.
    join_all(children(2, |_| assert!(meet.wait().is_ok())));
    join_all([patient]);
}

/// A child that returns, or a process that drops its handle, is not missed.
pub fn orderly_end() {
    let (segment, meet) = barrier(2);
    let in_order = child(|| assert!(meet.wait().is_ok()));
    let handle = segment.barrier("meet").unwrap();
    assert!(handle.wait().unwrap() < 2);
    drop(handle);
    join_all([in_order]);
    let newcomer = child(|| assert!(meet.wait().is_ok()));
    std::thread::sleep(Duration::from_millis(400)); // Long enough for several looks around.
    assert_eq!(meet.wait(), Ok(1));
    join_all([newcomer]);

    // One that ends by a panic is missed.
    let mut panicking = child(|| {
        meet.wait().unwrap();
        panic!("not in order");
    });
    meet.wait().unwrap();
    panicking.join().unwrap();
    assert_eq!(meet.wait(), broken_by(BreakCause::PartyDied(panicking.pid())));
}

pub fn full() {
    let segment = segment(&Plan::new().participants(2).barrier("meet", 2));
    let meet = segment.barrier("meet").unwrap();
    let enrolled = children(2, |_| sleep_for_ever());
    enrolled.iter().for_each(|party| meet.enrol(party.pid()).unwrap());
    assert_eq!(meet.wait(), Err(BarrierError::Full));
    let mut enrolled = enrolled.into_iter();
    kill_and_join(enrolled.next().unwrap());
    meet.reset().unwrap();
    let coming = child(|| _ = meet.wait());
    wait_until("the child is a party", || meet.n_waiting() == 1);
    kill_and_join(coming);
    enrolled.for_each(kill_and_join);
}

pub fn times() {
    let segment = segment(&Plan::new().barrier("0", 2).barrier("1", 2));
    let barriers = ["0", "1"].map(|name| segment.barrier(name).unwrap());
    keeps_time(|number, timeout| {
        assert_eq!(barriers[number].wait_timeout(timeout), broken_by(BreakCause::TimedOut));
        barriers[number].reset().unwrap();
    });
}

pub fn idle() {
    let (_segment, meet) = barrier(2);
    meet.enrol(nix::unistd::getpid()).unwrap();
    waits_idly(child(|| _ = meet.wait()));
}

/// Parties are killed at random moments. Every survivor is told, and each round was completed for all of them or for none.
pub fn soak() {
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
        victims.iter().for_each(|&victim| strike(&mut parties[victim]));
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
    let last = children(2 * PARTIES, |_| sleep_for_ever());
    last.iter().for_each(|party| meet.enrol(party.pid()).unwrap());
    assert_eq!(meet.wait(), Err(BarrierError::Full));
    last.into_iter().for_each(kill_and_join);
    assert!(completed > 0 && found > 0);
    fact("rounds", completed);
    fact("recoveries", found);
    fact("longest_ms", longest.as_millis());
}
