//! A pool of two workers that reloads: new workers take over while the old ones finish. Run it with
//! `cargo run -p shm-multiprocessing --example reload`.

use std::num::NonZeroUsize;
use std::thread::sleep;
use std::time::Duration;

use multiprocessing::{Exit, Pool, PoolEvent, PoolOptions, RepairOutcome, Worker, Workload};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// The state of the supervisor. The workers of each generation start with a copy of it.
struct Service {
    generation: u32,
}

impl Workload for Service {
    fn work(&mut self, worker: &Worker) -> i32 {
        worker.ready();
        // An operator would send these signals to the supervisor.
        let signal = if self.generation == 1 { Signal::SIGHUP } else { Signal::SIGTERM };
        let sent =
            if worker.slot().is_multiple_of(2) { kill(Pid::parent(), signal) } else { Ok(()) };
        // The work goes here. After a reload, the worker finishes what it has, then returns.
        while !worker.stop_requested() {
            sleep(Duration::from_millis(5));
        }
        i32::from(sent.is_err())
    }

    fn repair(&mut self, _slot: usize, _exit: Exit) -> RepairOutcome {
        RepairOutcome::Done
    }

    fn observe(&mut self, event: &PoolEvent) {
        if let PoolEvent::Reloading { workers } = event {
            // A real service would apply its new settings here.
            self.generation += 1;
            println!("generation {} has {workers} workers", self.generation);
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let workers = NonZeroUsize::MIN.saturating_add(1);
    // The new workers need slots of their own, because the old ones finish first.
    let pool = Pool::new(PoolOptions { workers, slots: 4, grace: Duration::from_secs(5) })?;
    println!("the pool ended: {:?}", pool.run(&mut Service { generation: 1 })?);
    Ok(())
}
