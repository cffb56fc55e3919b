//! One structure declares all objects of a segment; no object is named by a string. Run it with
//! `cargo run -p shm-multiprocessing --example shared_state`.

use multiprocessing::{Process, Queue, RawArray, Segment, SegmentName, SharedState, Value};

/// What the processes of this program share.
#[derive(Clone, Debug, SharedState)]
#[shared(args(workers: usize))]
struct Shared {
    #[shared(segment)]
    segment: Segment,
    /// Written by the holder of its lock.
    served: Value<u64>,
    /// Per worker: 1 while it serves. Written by that worker alone.
    #[shared(len = workers)]
    processing: RawArray<u8>,
    /// Filled by the parent, emptied by the workers.
    #[shared(capacity = 2 * workers)]
    requests: Queue<u64>,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let name = SegmentName::unique("example-shared-state")?;
    let shared = Shared::open_or_create(&name, 3)?;
    for request in 1..=6 {
        shared.requests.put(request)?;
    }
    shared.requests.close()?;
    let serve = |worker: usize| {
        let shared = &shared;
        Process::fork(move || {
            shared.processing.store(worker, 1);
            while let Ok(request) = shared.requests.get() {
                let _ = shared.served.update(|served| *served += request);
            }
            shared.processing.store(worker, 0);
            0
        })
    };
    let workers = (0..3).map(serve).collect::<Result<Vec<_>, _>>()?;
    for mut worker in workers {
        worker.join()?;
    }
    // Any other program that has the declaration opens the segment by its name.
    let seen = Shared::open(&name)?;
    println!("{} workers served {}", seen.processing.len(), seen.served.get());
    println!("{} objects in {}", seen.segment.objects().len(), seen.segment.name());
    Ok(())
}
