//! A supervised pool whose workers are killed while they count under a lock.

use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use multiprocessing::{
    Exit, Outcome, Plan, Pool, PoolEvent, PoolOptions, Process, RawArray, RepairOutcome, Value,
    Worker, Workload,
};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getppid};

use crate::common::{
    Accounts, LIMIT, Random, apply, descriptors, fact, kills, linger, segment, soak,
};

const WORKERS: usize = 4;

/// What a batch changes in one commit: the number of batches in all, and in each slot.
type Totals = [u64; 1 + WORKERS];

struct Soak {
    totals: Value<Totals>,
    /// One account per slot.
    accounts: Accounts,
    /// The ready worker of each slot that is not killed yet, or 0.
    ready: RawArray<i32>,
    pids: [i32; WORKERS],
    /// How often all workers were reported as ready.
    all_ready: u32,
    killed: u32,
    interrupted: u64,
}

impl Soak {
    /// Checks the account of a slot whose worker has ended.
    fn close_account(&mut self, slot: usize) {
        let in_progress = self.accounts.close(slot, self.totals.get()[1 + slot]);
        self.interrupted += u64::from(in_progress);
    }
}

impl Workload for Soak {
    fn work(&mut self, worker: &Worker) -> i32 {
        let slot = worker.slot();
        worker.ready();
        while !worker.stop_requested() {
            self.accounts.step(slot, |number| {
                let count = |totals: &mut Totals| {
                    totals[1 + slot] += 1;
                    linger(number);
                    totals[0] += 1;
                };
                self.totals.update(count).unwrap();
            });
        }
        0
    }

    fn repair(&mut self, slot: usize, _exit: Exit) -> RepairOutcome {
        self.close_account(slot);
        RepairOutcome::Done
    }

    fn observe(&mut self, event: &PoolEvent) {
        match event {
            PoolEvent::Started { slot, pid } => self.pids[*slot] = pid.as_raw(),
            PoolEvent::Ready { slot } => self.ready.store(*slot, self.pids[*slot]),
            PoolEvent::AllReady => self.all_ready += 1,
            PoolEvent::Died { exit, .. } => {
                assert!(exit.is_signal(Signal::SIGKILL), "a worker ended by itself: {exit:?}");
                self.killed += 1;
            }
            PoolEvent::Stopping { .. } => {}
            other => panic!("{other:?}"),
        }
    }
}

/// Kills workers that are ready, at random, then stops the pool. Exits with 1 when the pool stops
/// replacing them.
fn killer(kills: u32, ready: RawArray<i32>) -> Process {
    let mut random = Random::new();
    let kill_many = move || {
        let (mut killed, mut last) = (0, Instant::now());
        while killed < kills {
            random.pause(Duration::from_micros(500));
            let slot = random.below(WORKERS as u64) as usize;
            let pid = ready.load(slot);
            if pid > 0 {
                // Before the kill: afterwards the entry could be that of its replacement.
                ready.store(slot, 0);
                kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
                killed += 1;
                last = Instant::now();
            }
            if last.elapsed() > LIMIT {
                return 1;
            }
        }
        kill(getppid(), Signal::SIGTERM).map_or(1, |()| 0)
    };
    Process::fork(kill_many).unwrap()
}

/// A replacement continues the count of every killed worker.
#[apply(soak)]
fn after_random_kills_the_sums_are_right_and_nothing_hangs() {
    let kills = kills(500);
    let segment =
        segment(&Plan::new().value::<Totals>("totals").raw_array::<i32>("ready", WORKERS));
    let totals = segment.value::<Totals>("totals").unwrap();
    let ready = segment.raw_array::<i32>("ready").unwrap();
    let mut soak = Soak {
        totals: totals.clone(),
        accounts: Accounts::new(WORKERS),
        ready: ready.clone(),
        pids: [0; WORKERS],
        all_ready: 0,
        killed: 0,
        interrupted: 0,
    };
    let open = descriptors();
    let workers = NonZeroUsize::new(WORKERS).unwrap();
    let pool =
        Pool::new(PoolOptions { workers, slots: workers.get(), grace: Duration::from_secs(5) })
            .unwrap();
    let mut killer = killer(kills, ready);
    assert_eq!(pool.run(&mut soak).unwrap(), Outcome::Stopped);
    assert!(killer.join().unwrap().is_success(), "the pool stopped replacing its workers");
    drop(killer);
    (0..WORKERS).for_each(|slot| soak.close_account(slot));

    let counted = totals.get();
    assert_eq!(counted[0], counted[1..].iter().sum::<u64>(), "{counted:?}");
    assert!(counted[1..].iter().all(|&count| count > 0), "{counted:?}");
    assert_eq!((soak.killed, soak.all_ready), (kills, 1));
    assert_eq!(descriptors(), open, "descriptors are left open");
    let recoveries = totals.get_lock().recoveries();
    assert!(recoveries > 0 && soak.interrupted > 0, "no process was killed at work");
    fact("kills", soak.killed);
    fact("recoveries", recoveries);
    fact("interrupted", soak.interrupted);
}
