//! Wake-ups of two processes that wake each other with two `Event`s, compared with flags in C on
//! bare futexes and on condition variables, Python's `Event` and raw_sync's.

mod common;

use common::raw::Events;
use common::{CProgram, Figure, Outcome, Sides, Table, python, rate_beside, segment};
use multiprocessing::{Event, Plan};
use raw_sync::Timeout;
use raw_sync::events::EventState;

/// Rounds per turn, of two wake-ups each. Python does a tenth of them.
const ROUNDS: u32 = 50_000;

fn main() -> Outcome {
    let c = CProgram::compile("event")?;
    let table = Table::begin("Event wakes")?;
    table.row(
        "wakes, `Event`; C: futex",
        &Sides {
            ours: &events,
            c: Some(&|| c.run(&[0, ROUNDS])),
            python: Some(&|| python("event", &[ROUNDS / 10])),
            raw_sync: None,
        },
    )?;
    table.row(
        "wakes, `Event`; C and raw_sync: condition variable",
        &Sides {
            ours: &events,
            c: Some(&|| c.run(&[1, ROUNDS])),
            python: None,
            raw_sync: Some(&raw_events),
        },
    )?;
    table.end()
}

fn events() -> Figure {
    let segment = segment(&Plan::new().event("there").event("back"))?;
    let (there, back) = (segment.event("there")?, segment.event("back")?);
    let taken = |event: &Event| {
        let waited = event.wait().is_ok();
        event.clear();
        waited
    };
    let answered = |_| {
        let taken = taken(&there);
        back.set();
        taken
    };
    let asked = |_| {
        there.set();
        taken(&back)
    };
    rate_beside(2 * ROUNDS, || (0..ROUNDS).all(answered), || (0..ROUNDS).all(asked))
}

fn raw_events() -> Figure {
    let events = Events::new(2)?;
    let set = |index: usize| events.events[index].set(EventState::Signaled).is_ok();
    let wait = |index: usize| events.events[index].wait(Timeout::Infinite).is_ok();
    let answered = |_| wait(0) && set(1);
    let asked = |_| set(0) && wait(1);
    rate_beside(2 * ROUNDS, || (0..ROUNDS).all(answered), || (0..ROUNDS).all(asked))
}
