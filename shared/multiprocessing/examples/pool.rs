//! A pool with one worker per processor. One is killed, and its replacement stops the pool.
//! Run it with `cargo run -p shm-multiprocessing --example pool`.

use std::time::Duration;

use multiprocessing::{Exit, Pool, PoolEvent, PoolOptions, RepairOutcome, Worker, Workload};
use nix::sys::signal::{Signal, kill, raise};

/// The state of the supervisor. Every worker starts with a copy of it.
struct Service {
    deaths: u32,
}

impl Workload for Service {
    fn work(&mut self, worker: &Worker) -> i32 {
        worker.ready();
        let signalled = match (worker.slot(), self.deaths) {
            (0, 0) => raise(Signal::SIGKILL),
            // An operator would stop the service in this way.
            (0, _) => kill(nix::unistd::Pid::parent(), Signal::SIGTERM),
            _ => Ok(()),
        };
        // The work, such as accepting connections, goes here.
        while !worker.stop_requested() {
            std::thread::sleep(Duration::from_millis(5));
        }
        i32::from(signalled.is_err())
    }

    fn repair(&mut self, _slot: usize, _exit: Exit) -> RepairOutcome {
        self.deaths += 1;
        RepairOutcome::Done
    }

    fn observe(&mut self, event: &PoolEvent) {
        match event {
            PoolEvent::Died { slot, exit, .. } => println!("worker {slot} was ended by {exit}"),
            PoolEvent::Stopping { signal: Some(signal) } => println!("{signal} stops the pool"),
            _ => {}
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let workers = std::thread::available_parallelism()?;
    let pool =
        Pool::new(PoolOptions { workers, slots: workers.get(), grace: Duration::from_secs(5) })?;
    println!("the pool ended: {:?}", pool.run(&mut Service { deaths: 0 })?);
    Ok(())
}
