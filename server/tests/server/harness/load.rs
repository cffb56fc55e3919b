//! Agencies that keep a central busy while a test disturbs it.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, spawn};
use std::time::Duration;

use super::batch_record::BatchRecord;
use super::participant::Participant;
use super::random::Random;

/// Bets of the largest batch: about 7 kB.
const MAX_BETS: u64 = 120;
/// Longest pause of an agency between two requests. Without pauses a test would fill the machine's
/// connection table with closed connections.
const PAUSE: Duration = Duration::from_millis(4);

/// Agencies at work, each with one connection per request: three batches of random size per query.
/// They go on until they are stopped, whether the central answers, dies or comes back.
#[derive(Debug)]
#[must_use = "the agencies stop when this is dropped"]
pub struct Load {
    stop: Arc<AtomicBool>,
    agencies: Vec<JoinHandle<()>>,
}

impl Load {
    /// Starts this many agencies, each in a thread. They enter what they do into `record`.
    pub fn start(
        agencies: usize,
        port: u16,
        record: &Arc<BatchRecord>,
        random: &mut Random,
    ) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let agency = |_| {
            let (stop, record, random) = (Arc::clone(&stop), Arc::clone(record), random.split());
            spawn(move || work(&stop, port, &record, random))
        };
        Self { agencies: (0..agencies).map(agency).collect(), stop }
    }

    /// Adds agencies with these numbers, each of which keeps a connection in `framed` and sends one
    /// batch after the other.
    pub fn add_kept(
        &mut self,
        numbers: Range<u16>,
        port: u16,
        record: &Arc<BatchRecord>,
        random: &mut Random,
    ) {
        for number in numbers {
            let (stop, record) = (Arc::clone(&self.stop), Arc::clone(record));
            let random = random.split();
            let work = move || work_on_one_connection(&stop, number, port, &record, random);
            self.agencies.push(spawn(work));
        }
    }

    /// Stops each agency after its current request. Panics if an agency received a wrong answer.
    pub fn stop(mut self) {
        self.stop.store(true, Ordering::SeqCst);
        for agency in self.agencies.drain(..) {
            if let Err(panic) = agency.join() {
                std::panic::resume_unwind(panic);
            }
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        for agency in self.agencies.drain(..) {
            // The test fails already, or does not check the answers.
            let _ = agency.join();
        }
    }
}

fn work(stop: &AtomicBool, port: u16, record: &BatchRecord, mut random: Random) {
    while !stop.load(Ordering::SeqCst) {
        if random.below(4) == 0 {
            record.query(port);
        } else {
            let bets = 1 + random.below(MAX_BETS);
            record.send_batch(port, bets as usize, random.below(bets + 1) as usize);
        }
        random.pause(PAUSE);
    }
}

fn work_on_one_connection(
    stop: &AtomicBool,
    number: u16,
    port: u16,
    record: &BatchRecord,
    mut random: Random,
) {
    let mut connection = None;
    while !stop.load(Ordering::SeqCst) {
        connection = connection.or_else(|| Participant::try_connect(port, "framed", number).ok());
        if let Some(participant) = &mut connection {
            let bets = 1 + random.below(MAX_BETS);
            let winners = random.below(bets + 1) as usize;
            if !record.send_batch_of(participant, number, bets as usize, winners) {
                connection = None;
            }
        }
        random.pause(PAUSE);
    }
}
