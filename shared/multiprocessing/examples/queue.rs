//! A queue: two children work off what their parent puts, and are told when there is no more.
//! `cargo run -p shm-multiprocessing --example queue`

use multiprocessing::{LockFailure, Plan, Process, Queue, Segment, SegmentName, Shareable};

#[derive(Clone, Copy, Shareable)]
#[repr(C)]
struct Job {
    number: u32,
    /// How many are to be added up; none for the end of the work.
    summands: u32,
}

fn work(jobs: &Queue<Job>, sums: &Queue<[u64; 2]>) -> Result<(), LockFailure> {
    loop {
        let job = jobs.get()?;
        if job.summands == 0 {
            return Ok(());
        }
        sums.put([job.number.into(), (1..=u64::from(job.summands)).sum()])?;
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let name = SegmentName::new(&format!("example-queue.{}", std::process::id()))?;
    let plan = Plan::new().queue::<Job>("jobs", 4).queue::<[u64; 2]>("sums", 16);
    let segment = Segment::create(&name, &plan)?;
    let (jobs, sums) = (segment.queue("jobs")?, segment.queue("sums")?);

    let worker = || i32::from(work(&jobs, &sums).is_err());
    let mut workers = [Process::spawn(worker)?, Process::spawn(worker)?];
    for number in 1..=10 {
        // Waits while four are not yet begun.
        jobs.put(Job { number, summands: 1000 * number })?;
    }
    for _ in &workers {
        jobs.put(Job { number: 0, summands: 0 })?;
    }
    for worker in &mut workers {
        worker.join()?;
    }
    while let Some([number, sum]) = sums.try_get()? {
        println!("job {number}: {sum}");
    }
    println!("sums: {sums}");
    Ok(())
}
