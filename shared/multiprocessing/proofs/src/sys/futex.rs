//! The futex of the kernel: a list of sleepers behind a lock. There is one word in each model.

use loom::sync::{Condvar, Mutex};
use nix::errno::Errno;
use nix::sys::time::TimeSpec;

use crate::sys::atomic::{AtomicU32, Ordering};

#[derive(Default)]
struct Sleepers {
    /// Number of sleepers so far.
    count: u64,
    /// Number and kinds of those that sleep, in order.
    asleep: Vec<(u64, u32)>,
}

loom::lazy_static! {
    static ref SLEEPERS: (Mutex<Sleepers>, Condvar) = (Mutex::new(Sleepers::default()), Condvar::new());
}

/// Sleeps without a limit, so that a lost wake-up is a deadlock.
pub(crate) fn wait(word: &AtomicU32, seen: u32, _: TimeSpec, bits: u32) -> Result<(), Errno> {
    let (sleepers, woken) = &*SLEEPERS;
    let mut state = sleepers.lock().unwrap();
    if word.load(Ordering::SeqCst) != seen {
        return Ok(());
    }
    state.count += 1;
    let own = state.count;
    state.asleep.push((own, bits));
    while state.asleep.iter().any(|(number, _)| *number == own) {
        state = woken.wait(state).unwrap();
    }
    Ok(())
}

pub(crate) fn wake(_: &AtomicU32, count: u32, bits: u32) {
    let (sleepers, woken) = &*SLEEPERS;
    let mut left = count;
    sleepers.lock().unwrap().asleep.retain(|(_, kinds)| {
        let wakes = left > 0 && kinds & bits != 0;
        left -= u32::from(wakes);
        !wakes
    });
    woken.notify_all();
}
