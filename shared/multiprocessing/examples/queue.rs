//! A queue: two children do the jobs that their parent puts, until the queue is closed and empty.
//! Run it with `cargo run -p shm-multiprocessing --example queue`.

use multiprocessing::{Plan, Process, Queue, QueueError, Segment, SegmentName, Shareable};

#[derive(Clone, Copy, Shareable)]
#[repr(C)]
struct Job {
    number: u32,
    /// How many numbers to add up.
    summands: u32,
}

fn work(jobs: &Queue<Job>, sums: &Queue<[u64; 2]>) -> Result<(), QueueError> {
    for job in jobs.iter() {
        let job = job?;
        sums.put([job.number.into(), (1..=u64::from(job.summands)).sum()])?;
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let name = SegmentName::new(&format!("example-queue.{}", std::process::id()))?;
    let plan = Plan::new().queue::<Job>("jobs", 4).queue::<[u64; 2]>("sums", 16);
    let segment = Segment::create(&name, &plan)?;
    let (jobs, sums) = (segment.queue("jobs")?, segment.queue("sums")?);

    let worker = || i32::from(work(&jobs, &sums).is_err());
    let mut workers = [Process::fork(worker)?, Process::fork(worker)?];
    for number in 1..=10 {
        // Waits while four jobs are in the queue.
        jobs.put(Job { number, summands: 1000 * number })?;
    }
    jobs.close()?;
    for worker in &mut workers {
        worker.join()?;
    }
    println!("jobs: {jobs}");
    while let Some([number, sum]) = sums.try_get()? {
        println!("job {number}: {sum}");
    }
    println!("sums: {sums}");
    Ok(())
}
