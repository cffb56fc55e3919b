//! A run: its parameters, its threads and its figures.

use std::io;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage, setrlimit};

use crate::conversation::Conversation;
use crate::driver::Driver;
use crate::figures::Figures;
use crate::sources::Sources;
use crate::tally::Tally;

/// Descriptors that the process needs besides its connections.
pub const MAX_CLIENTS_MARGIN: u64 = 32;

/// Parameters of a run.
#[derive(Clone, Debug)]
pub struct Load {
    /// Address of the server.
    pub server: SocketAddr,
    /// Where the connections come from.
    pub sources: Sources,
    /// True if a client sends all its requests over one connection, false for a new connection per
    /// request.
    pub kept: bool,
    /// Time during which clients begin new requests.
    pub duration: Duration,
    /// Time limit for a reply. A request that exceeds it has failed.
    pub reply_limit: Duration,
    /// Number of threads.
    pub threads: usize,
}

/// Why a run has no figures.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Every client failed and none was answered in between.
    #[error("{reason}{}", after(*.answered))]
    Unanswered {
        /// Requests of the thread that were answered before.
        answered: u64,
        /// The most frequent failure.
        reason: String,
    },
    /// No request was answered before the time was over.
    #[error("no batch was answered")]
    Nothing,
    /// The system refuses a resource.
    #[error("the load cannot be generated: {0}")]
    System(#[from] io::Error),
    /// The histogram cannot be created.
    #[error("the latencies cannot be recorded: {0}")]
    Histogram(#[from] hdrhistogram::CreationError),
    /// A thread has panicked.
    #[error("a thread of the load generator has panicked")]
    Panicked,
}

fn after(answered: u64) -> String {
    if answered == 0 { String::new() } else { format!(", after {answered} answered batches") }
}

impl Load {
    /// Sends the requests of all clients, one conversation each, and returns the figures. Ends
    /// early when `stop` returns true.
    pub fn run<C: Conversation>(
        &self,
        conversations: Vec<C>,
        stop: &(dyn Fn() -> bool + Sync),
    ) -> Result<Figures, LoadError> {
        let threads = self.threads.clamp(1, conversations.len().max(1));
        let cpu_before = own_cpu()?;
        let mut drivers = Vec::new();
        for (thread, share) in split(conversations, threads).into_iter().enumerate() {
            drivers.push(Driver::new(self, stop, thread, share)?);
        }
        let start = Instant::now();
        let end = start + self.duration;
        let tallies: Vec<Result<Tally, LoadError>> = thread::scope(|scope| {
            let running: Vec<_> =
                drivers.into_iter().map(|driver| scope.spawn(move || driver.run(end))).collect();
            let ended = running.into_iter().map(|thread| thread.join());
            ended.map(|result| result.unwrap_or(Err(LoadError::Panicked))).collect()
        });
        let seconds = start.elapsed().as_secs_f64();
        let mut all = Tally::new()?;
        for tally in tallies {
            all.merge(tally?);
        }
        let batches = all.latencies.len();
        if batches == 0 {
            return Err(LoadError::Nothing);
        }
        let cpu = own_cpu()?.saturating_sub(cpu_before);
        Ok(Figures {
            seconds,
            batches,
            batches_per_second: batches as f64 / seconds,
            latency_us: all.latencies.percentiles(),
            errors: all.failures,
            slow_connections: all.slow_connections,
            generator_cpu_us_per_batch: cpu.as_secs_f64() * 1e6 / batches as f64,
            generator_threads: threads,
        })
    }
}

/// Distributes the conversations over the threads.
fn split<C>(conversations: Vec<C>, threads: usize) -> Vec<Vec<C>> {
    let mut shares: Vec<Vec<C>> = (0..threads).map(|_| Vec::new()).collect();
    for (index, conversation) in conversations.into_iter().enumerate() {
        shares[index % threads].push(conversation);
    }
    shares
}

/// Returns the user and system time of this process.
fn own_cpu() -> io::Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    let micros = [usage.user_time(), usage.system_time()]
        .map(|time| time.tv_sec() as u64 * 1_000_000 + time.tv_usec() as u64);
    Ok(Duration::from_micros(micros.iter().sum()))
}

/// Raises the limit of open files as far as the process may, and returns the number of clients that
/// it leaves room for.
pub fn max_clients() -> io::Result<u64> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    Ok(hard.saturating_sub(MAX_CLIENTS_MARGIN))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_conversation_belongs_to_one_thread() {
        let shares = split((0..7).collect(), 3);
        assert_eq!(shares, [vec![0, 3, 6], vec![1, 4], vec![2, 5]]);
    }
}
