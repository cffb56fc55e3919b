//! Events whose setters and waiters are killed.

use std::time::{Duration, Instant};

use multiprocessing::{Event, Plan, Process, RawValue, Segment};

use crate::common::{
    Random, apply, child, fact, join_all, kill_and_join, kill_at_random, kill_at_work, kills,
    linger, reap, rest, segment, sleep_for_ever, soak, wait_until, wait_until_at_work,
};

fn event() -> (Segment, Event) {
    let plan = Plan::new().event("event").raw_array::<u64>("seen", 3).raw_value::<u64>("round");
    let segment = segment(&plan.raw_value::<u8>("last").raw_value::<u8>("stage"));
    let event = segment.event("event").unwrap();
    (segment, event)
}

/// Longest pause before a process sets the event, and before it is killed.
const PAUSE: Duration = Duration::from_micros(200);

/// Kills processes that set, clear or wait. The others go on, and an event that was set stays set.
#[apply(soak)]
fn waiters_go_on_when_others_are_killed_and_the_event_survives_its_setter() {
    let (segment, event) = event();
    let kills = kills(400);
    survives_a_storm(&segment, &event, kills / 2);
    survives_its_setters(&segment, &event, kills - kills / 2);
}

/// Checks that waiting survivors go on while others set, clear and wait all the time and are
/// killed.
fn survives_a_storm(segment: &Segment, event: &Event, kills: u32) {
    let seen = segment.raw_array::<u64>("seen").unwrap();
    let last = segment.raw_value::<u8>("last").unwrap();
    let survivor = |number: usize| {
        child(|| {
            while last.load() == 0 {
                event.wait().unwrap();
                rest(seen.fetch_add(number, 1));
            }
        })
    };
    let survivors = [survivor(0), survivor(1)];
    let set_and_clear = || {
        child(|| {
            for step in 0.. {
                event.set();
                linger(step);
                event.clear();
                rest(step);
            }
        })
    };
    let wait = || {
        child(|| {
            for step in 0.. {
                event.wait().unwrap();
                rest(step);
            }
        })
    };
    kill_at_random(kills, &[&set_and_clear, &wait, &set_and_clear, &wait], |_| {
        let before = [seen.load(0), seen.load(1)];
        wait_until("the survivors go on", || {
            (0..2).all(|number| seen.load(number) > before[number])
        });
    });
    last.store(1);
    event.set();
    join_all(survivors);
    event.clear();
}

/// Lets a process set the event once, and kills it before, meanwhile or afterwards, sometimes with
/// a waiter. If the event is set, the others go on even if they got no wake-up.
fn survives_its_setters(segment: &Segment, event: &Event, kills: u32) {
    let seen = segment.raw_array::<u64>("seen").unwrap();
    let round = segment.raw_value::<u64>("round").unwrap();
    // What the setter announces: nothing, about to set, set.
    let stage = segment.raw_value::<u8>("stage").unwrap();
    let waiter = |number: usize| {
        child(|| {
            loop {
                event.wait().unwrap();
                let now = round.load();
                seen.store(number, now);
                while round.load() == now {
                    std::thread::sleep(Duration::from_micros(20));
                }
            }
        })
    };
    (0..3).for_each(|number| seen.store(number, 0));
    let survivors = [waiter(0), waiter(1)];
    let mut dying = waiter(2);
    let mut random = Random::new();
    let (mut killed, mut meanwhile, mut longest) = (0, 0, Duration::ZERO);
    while killed < kills {
        event.clear();
        stage.store(0);
        let now = round.fetch_add(1) + 1;
        let mut setter = start_setter(event, &stage, &mut random);
        let both = random.below(2) == 1;
        kill_at_work(&mut setter);
        if both {
            kill_at_work(&mut dying);
        }
        reap(&mut setter);
        let begun = Instant::now();
        let (stage, is_set) = (stage.load(), event.is_set());
        assert!(stage == 1 || is_set == (stage == 2), "set: {is_set}, at stage {stage}");
        meanwhile += u64::from(stage == 1);
        if !is_set {
            event.set();
        }
        wait_until("the survivors go on", || (0..2).all(|survivor| seen.load(survivor) == now));
        longest = longest.max(begun.elapsed());
        assert!(event.is_set());
        killed += 1;
        if both {
            reap(&mut dying);
            dying = waiter(2);
            killed += 1;
        }
    }
    survivors.into_iter().chain([dying]).for_each(kill_and_join);
    fact("recoveries", meanwhile);
    fact("longest_ms", longest.as_millis());
}

/// Starts a process that sets the event once after a random delay. Returns at a random moment
/// before, during or after that.
fn start_setter(event: &Event, stage: &RawValue<u8>, random: &mut Random) -> Process {
    let delay = Duration::from_nanos(random.below(PAUSE.as_nanos() as u64));
    let mut setter = child(|| {
        let begun = Instant::now();
        while begun.elapsed() < delay {
            std::hint::spin_loop();
        }
        stage.store(1);
        event.set();
        stage.store(2);
        sleep_for_ever();
    });
    wait_until_at_work(&mut setter);
    if random.below(2) == 0 {
        random.pause(PAUSE);
    } else {
        while stage.load() == 0 {
            std::hint::spin_loop();
        }
    }
    setter
}
