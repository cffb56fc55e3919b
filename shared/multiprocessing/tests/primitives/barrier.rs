//! DOC

use std::time::{Duration, Instant};

use multiprocessing::{Barrier, BarrierError, BreakCause, Plan, Process, Segment, SegmentError};

use crate::common::{
    LIMIT, apply, assert_less, child, join_all, keeps_time, kill_and_join, segment, sleep_for_ever,
    test, unique_name, wait_until, wait_until_blocked, waits_idly,
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
#[apply(test)]
fn parties_go_in_lockstep_through_a_thousand_rounds_and_one_of_them_is_number_0() {
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
#[apply(test)]
fn the_action_runs_once_before_anybody_goes_on_and_breaks_the_barrier_when_it_fails() {
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
#[apply(test)]
fn abort_reset_and_a_time_limit_throw_everybody_out_and_a_reset_mends() {
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

#[apply(test)]
fn a_killed_party_breaks_the_barrier_and_every_survivor_is_told() {
    let (segment, meet) = barrier(3);
    let number = segment.raw_value::<u64>("number").unwrap();
    let is_reported = |dying: Process, survivors: usize| {
        let pid = dying.pid();
        let survivors =
            children(survivors, |_| assert_eq!(meet.wait(), broken_by(BreakCause::PartyDied(pid))));
        survivors.iter().for_each(|survivor| wait_until_blocked(survivor.pid()));
        let killed = Instant::now();
        kill_and_join(dying);
        join_all(survivors);
        assert_less("the survivors go on", killed.elapsed(), Duration::from_secs(1));
        assert_eq!(format!("{meet}"), format!("broken: a party was killed ({pid})"));
        meet.reset().unwrap();
    };
    // A party that waits.
    let waiting = child(|| _ = meet.wait());
    wait_until_blocked(waiting.pid());
    is_reported(waiting, 1);

    // One that was there in the last round, and is busy elsewhere.
    let busy = child(|| {
        meet.wait().unwrap();
        number.store(1);
        sleep_for_ever();
    });
    join_all(children(2, |_| assert!(meet.wait().is_ok())));
    wait_until("it has gone on", || number.load() == 1);
    is_reported(busy, 2);

    // One that has not come yet, and was enrolled by its parent.
    let late = child(|| sleep_for_ever());
    meet.enrol(late.pid()).unwrap();
    is_reported(late, 2);
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
#[apply(test)]
fn a_party_that_ends_in_order_is_not_missed() {
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

#[apply(test)]
fn one_party_more_than_there_is_room_for_is_told_so() {
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

#[apply(test)]
fn waits_keep_their_time_also_under_a_storm_of_signals() {
    let segment = segment(&Plan::new().barrier("0", 2).barrier("1", 2));
    let barriers = ["0", "1"].map(|name| segment.barrier(name).unwrap());
    keeps_time(|number, timeout| {
        assert_eq!(barriers[number].wait_timeout(timeout), broken_by(BreakCause::TimedOut));
        barriers[number].reset().unwrap();
    });
}

#[apply(test)]
fn an_idle_waiter_uses_no_processor() {
    let (_segment, meet) = barrier(2);
    meet.enrol(nix::unistd::getpid()).unwrap();
    waits_idly(child(|| _ = meet.wait()));
}

#[apply(test)]
fn a_barrier_for_nobody_or_for_more_than_can_take_part_is_no_plan() {
    for plan in [Plan::new().barrier("meet", 0), Plan::new().participants(4).barrier("meet", 5)] {
        assert!(matches!(Segment::create(&unique_name(), &plan), Err(SegmentError::Plan(_))));
    }
}
