//! Agencies that keep a central busy while a test does something to it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, spawn};
use std::time::Duration;

use super::book::Book;
use super::random::Random;

/// Bets of the largest batch: about 7 kB.
const MAX_BETS: u64 = 120;
/// Longest pause of an agency between two requests. Without any, a test would use up the machine's connection table.
const PAUSE: Duration = Duration::from_millis(4);

/// Agencies at work, each with one connection a request: three batches of random size to one question. Whether the central
/// answers, dies or comes back, they go on until told to stop.
#[derive(Debug)]
#[must_use = "the agencies stop when this is dropped"]
pub struct Load {
    stop: Arc<AtomicBool>,
    agencies: Vec<JoinHandle<()>>,
}

impl Load {
    /// Starts this many agencies, each in a thread, that note what they do in `book`.
    pub fn start(agencies: usize, port: u16, book: &Arc<Book>, random: &mut Random) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let agency = |_| {
            let (stop, book, random) = (Arc::clone(&stop), Arc::clone(book), random.split());
            spawn(move || work(&stop, port, &book, random))
        };
        Self { agencies: (0..agencies).map(agency).collect(), stop }
    }

    /// Ends the agencies, each after the request it is at.
    ///
    /// # Panics
    /// When an agency was answered wrongly.
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
            // The test fails already, or does not care.
            let _ = agency.join();
        }
    }
}

fn work(stop: &AtomicBool, port: u16, book: &Book, mut random: Random) {
    while !stop.load(Ordering::SeqCst) {
        if random.below(4) == 0 {
            book.ask(port);
        } else {
            let bets = 1 + random.below(MAX_BETS);
            book.send_batch(port, bets as usize, random.below(bets + 1) as usize);
        }
        random.pause(PAUSE);
    }
}
