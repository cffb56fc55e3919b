//! Python's `Barrier`, also when parties are killed.

use std::time::{Duration, Instant};

use multiprocessing::{Barrier, BarrierError, BreakCause, Plan, Process, Segment, SegmentError};

use crate::common::{
    LIMIT, apply, assert_less, child, join_all, keeps_time, kill_and_join, segment, sleep_for_ever,
    test, unique_name, wait_until, wait_until_blocked, waits_idly,
};

/// Creates a barrier, a number for each party, and one more number.
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

/// _TestBarrier.test_barrier, test_barrier_10, test_wait_return, test_single_thread and
/// test_thousand.
#[apply(test)]
fn parties_pass_a_thousand_rounds_in_lockstep_and_one_of_them_is_number_0() {
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
            // No party is behind, and none is more than one round ahead.
            assert!(
                numbers.iter().all(|other| other == round || other == round + 1),
                "{numbers:?}"
            );
            meet.wait().unwrap();
            // All parties have counted their index, and none can count the next one before this
            // party returns.
            assert_eq!(leaders.load(), round);
        }
    });
    join_all(parties);
    assert_eq!((meet.n_waiting(), meet.is_broken()), (0, false));

    // Other processes take the places of the parties, which have exited normally.
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
fn the_action_runs_once_before_any_party_goes_on_and_its_failure_breaks_the_barrier() {
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
            // The action ran before any party went on. It runs again only when all have returned.
            assert!([round, round + 1].contains(&actions.load()));
        }
    }));
    assert_eq!(actions.load(), ROUNDS);

    // An action that panics breaks the barrier, and the panic ends its own process.
    let panics = meet.clone().with_action(|| panic!("the action's last words"));
    let others = children(2, |_| assert_eq!(meet.wait(), broken_by(BreakCause::ActionFailed)));
    others.iter().for_each(|other| wait_until_blocked(other.pid()));
    let mut last = child(|| _ = panics.wait());
    assert_eq!(last.join_timeout(LIMIT).unwrap().unwrap().to_string(), "exit code 101");
    join_all(others);
    meet.reset().unwrap();

    // A process killed in the action breaks the barrier too, even for an extra party that came
    // meanwhile.
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

/// _TestBarrier.test_abort, test_reset, test_abort_and_reset, test_timeout and
/// test_default_timeout.
#[apply(test)]
fn abort_reset_and_timeout_end_every_wait_and_a_reset_repairs_the_barrier() {
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

    // Four parties wait, one of them with a timeout. The fifth comes too late.
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
    // All parties inherit a timeout.
    join_all(children(4, |_| assert_eq!(limited.wait(), broken_by(BreakCause::TimedOut))));
    assert_eq!(limited.wait(), broken_by(BreakCause::TimedOut));
    meet.reset().unwrap();
    works();
}

#[apply(test)]
fn a_killed_party_breaks_the_barrier_for_every_survivor() {
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

    // A party of the last round that is busy elsewhere.
    let busy = child(|| {
        meet.wait().unwrap();
        number.store(1);
        sleep_for_ever();
    });
    join_all(children(2, |_| assert!(meet.wait().is_ok())));
    wait_until("the party goes on", || number.load() == 1);
    is_reported(busy, 2);

    // A party that has not come yet, enrolled by its parent.
    let late = child(|| sleep_for_ever());
    meet.enrol(late.pid()).unwrap();
    is_reported(late, 2);
    let dead = child(|| ());
    let pid = dead.pid();
    join_all([dead]);
    assert_eq!(meet.enrol(pid), broken_by(BreakCause::PartyDied(pid)).map(drop));
    assert_eq!(meet.wait(), broken_by(BreakCause::PartyDied(pid)));
    meet.reset().unwrap();

    // A former party whose place others have taken is no party any more.
    number.store(0);
    let former = child(|| {
        meet.wait().unwrap();
        number.store(1);
        sleep_for_ever();
    });
    join_all(children(2, |_| assert!(meet.wait().is_ok())));
    wait_until("the party goes on", || number.load() == 1);
    join_all(children(3, |_| (0..2).for_each(|_| assert!(meet.wait().is_ok()))));
    kill_and_join(former);
    let patient = child(|| assert!(meet.wait().is_ok()));
    std::thread::sleep(Duration::from_millis(400)); // Long enough for several checks for dead parties.
    join_all(children(2, |_| assert!(meet.wait().is_ok())));
    join_all([patient]);
}

/// A child that returns, or a process that drops its handle, leaves the barrier.
#[apply(test)]
fn a_party_that_exits_normally_does_not_break_the_barrier() {
    let (segment, meet) = barrier(2);
    let in_order = child(|| assert!(meet.wait().is_ok()));
    let handle = segment.barrier("meet").unwrap();
    assert!(handle.wait().unwrap() < 2);
    drop(handle);
    join_all([in_order]);
    let newcomer = child(|| assert!(meet.wait().is_ok()));
    std::thread::sleep(Duration::from_millis(400)); // Long enough for several checks for dead parties.
    assert_eq!(meet.wait(), Ok(1));
    join_all([newcomer]);

    // A party that ends by a panic breaks the barrier.
    let mut panicking = child(|| {
        meet.wait().unwrap();
        panic!("not in order");
    });
    meet.wait().unwrap();
    panicking.join().unwrap();
    assert_eq!(meet.wait(), broken_by(BreakCause::PartyDied(panicking.pid())));
}

#[apply(test)]
fn one_party_too_many_gets_an_error() {
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
fn a_barrier_has_room_for_all_its_parties_and_reports_the_death_of_any_of_them() {
    let segment = segment(&Plan::new().barrier("meet", 70));
    let meet = segment.barrier("meet").unwrap();
    let parties = children(69, |_| {
        meet.wait().unwrap();
        assert!(matches!(meet.wait(), Err(BarrierError::Broken(BreakCause::PartyDied(_)))));
    });
    meet.wait().unwrap();
    wait_until("all others wait", || meet.n_waiting() == 69);
    let mut parties = parties.into_iter();
    kill_and_join(parties.next().unwrap());
    join_all(parties);
}

#[apply(test)]
fn waits_time_out_on_time_even_under_a_storm_of_signals() {
    let segment = segment(&Plan::new().barrier("0", 2).barrier("1", 2));
    let barriers = ["0", "1"].map(|name| segment.barrier(name).unwrap());
    keeps_time(|number, timeout| {
        assert_eq!(barriers[number].wait_timeout(timeout), broken_by(BreakCause::TimedOut));
        barriers[number].reset().unwrap();
    });
}

#[apply(test)]
fn an_idle_waiter_uses_no_processor_time() {
    let (_segment, meet) = barrier(2);
    meet.enrol(nix::unistd::getpid()).unwrap();
    waits_idly(child(|| _ = meet.wait()));
}

#[apply(test)]
fn a_plan_for_a_barrier_without_parties_or_with_more_than_participants_is_refused() {
    for plan in [Plan::new().barrier("meet", 0), Plan::new().participants(4).barrier("meet", 5)] {
        assert!(matches!(Segment::create(&unique_name(), &plan), Err(SegmentError::Plan(_))));
    }
}
