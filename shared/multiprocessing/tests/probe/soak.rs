//! A pool whose workers are killed at random while they count under locks: the sums must be right in the end.

use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use multiprocessing::{
    Exit, Outcome, Plan, Pool, PoolEvent, PoolOptions, Process, RawArray, Repair, Value, Worker, Workload,
};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getppid};

use crate::tools::{LIMIT, Random, fact, name, segment};

const WORKERS: usize = 4;
const KILLS: u64 = 500;

/// What a batch changes, all in one commit: how many there were in each slot, and their sum.
type Totals = [u64; 1 + WORKERS];

struct Soak {
    totals: Value<Totals>,
    /// Batches that a worker has begun and not ended, by slot.
    in_flight: RawArray<u16>,
    /// Batches that were reported as done, by slot. Between commit and report a worker may die.
    reported: RawArray<u64>,
    pids: RawArray<i32>,
    deaths: u64,
}

impl Workload for Soak {
    fn work(&mut self, worker: &Worker) -> i32 {
        let slot = worker.slot();
        worker.ready();
        while !worker.stop_requested() {
            self.in_flight.fetch_add(slot, 1);
            self.totals
                .update(|totals| {
                    totals[1 + slot] += 1;
                    totals[0] += 1;
                })
                .unwrap();
            self.reported.fetch_add(slot, 1);
            self.in_flight.fetch_sub(slot, 1);
        }
        0
    }

    fn repair(&mut self, slot: usize, _exit: Exit) -> Repair {
        self.in_flight.store(slot, 0);
        Repair::Done
    }

    fn observe(&mut self, event: &PoolEvent) {
        match event {
            PoolEvent::Started { slot, pid } => self.pids.store(*slot, pid.as_raw()),
            PoolEvent::Died { .. } => self.deaths += 1,
            _ => {}
        }
    }
}

/// Kills random workers, then stops the pool. Exits with 1 when the pool stops replacing them.
fn killer(pids: RawArray<i32>) -> Process {
    let mut random = Random::new();
    let kill_many = move || {
        let (mut killed, mut last) = (0, Instant::now());
        let mut victims = [0; WORKERS];
        while killed < KILLS {
            random.pause(Duration::from_millis(4));
            let slot = random.below(WORKERS as u64) as usize;
            let pid = pids.load(slot);
            // Each one once: a pid that was killed is not the next worker's.
            if pid > 0 && victims[slot] != pid && kill(Pid::from_raw(pid), Signal::SIGKILL).is_ok() {
                victims[slot] = pid;
                killed += 1;
                last = Instant::now();
            }
            if last.elapsed() > LIMIT {
                return 1;
            }
        }
        kill(getppid(), Signal::SIGTERM).map_or(1, |()| 0)
    };
    Process::spawn(kill_many).unwrap()
}

pub fn run() {
    let plan = Plan::new().value::<Totals>("totals").raw_array::<u16>("in flight", WORKERS);
    let segment = segment(&plan.raw_array::<u64>("reported", WORKERS).raw_array::<i32>("pids", WORKERS));
    let totals = segment.value::<Totals>("totals").unwrap();
    let reported = segment.raw_array::<u64>("reported").unwrap();
    let in_flight = segment.raw_array::<u16>("in flight").unwrap();
    let pids = segment.raw_array::<i32>("pids").unwrap();
    let workers = NonZeroUsize::new(WORKERS).unwrap();
    let pool = Pool::new(PoolOptions { workers, grace: Duration::from_secs(5) }).unwrap();
    let mut killer = killer(pids.clone());
    let mut soak = Soak {
        totals: totals.clone(),
        in_flight: in_flight.clone(),
        reported: reported.clone(),
        pids,
        deaths: 0,
    };
    assert_eq!(pool.run(&mut soak).unwrap(), Outcome::Stopped);
    assert!(killer.join().unwrap().is_success(), "the pool stopped replacing its workers");

    let counted = totals.get();
    assert_eq!(counted[0], counted[1..].iter().sum::<u64>(), "{counted:?}");
    // Everything reported was counted; what was counted and not reported died in between, one batch each.
    let unreported = counted[0] - reported.iter().sum::<u64>();
    assert!(unreported <= soak.deaths, "{unreported} not reported after {} deaths", soak.deaths);
    assert!(in_flight.iter().all(|batches| batches == 0), "{in_flight:?}");
    assert!(name().path().exists());
    fact("deaths", soak.deaths);
    fact("batches", counted[0]);
    fact("recoveries", totals.get_lock().recoveries());
}
