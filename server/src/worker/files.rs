//! The files as the store of a worker: a round is committed at its end, and answered once it is
//! durable.

use std::sync::Arc;
use std::time::{Duration, Instant};

use lottery::protocol::CentralCodec;
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};
use nix::sys::eventfd::EventFd;

use super::draw::DrawAttempt;
use super::request::{Origin, RequestOutcome, Requests, refuse, totals};
use super::round::Answerable;
use super::store::Store;
use super::table::Token;
use super::unpublished::{MAX_ANSWER_BYTES, Unpublished};
use super::{SYNC_CHECK, SYNCED, WorkerError};
use crate::central::{Central, Fatal, Files, LatencyPhase, Rejected, RepairError};
use crate::config::Config;

/// Time between two tests of a disk that refuses batches.
const DISK_RETRY: Duration = Duration::from_secs(1);

/// What a worker keeps between rounds.
#[derive(Debug)]
pub struct FilesWorker {
    /// Tickets whose requests are committed or rejected, but not published.
    unpublished: Unpublished,
    draw: DrawAttempt,
    /// Since when it gathers requests.
    gathers_since: Option<Instant>,
    /// When it last tested a disk that refuses batches.
    disk_retried: Option<Instant>,
}

impl Store for Files {
    type Worker = FilesWorker;

    fn repair(central: &Central<Self>, slot: usize) -> Result<(), RepairError> {
        central.repair(slot)
    }

    fn expect(central: &mut Central<Self>, read: &Config) -> Result<bool, RepairError> {
        central.expect(read.agencies, read.roster.clone())
    }

    fn close(central: &mut Central<Self>) -> Result<(), Fatal> {
        central.close()
    }

    fn open(
        central: &mut Central<Self>,
        slot: usize,
        epoll: &Epoll,
        drawn: Arc<EventFd>,
    ) -> Result<FilesWorker, WorkerError> {
        central.open_again()??;
        // Edge-triggered: no worker has to read the shared counter.
        let edge = EpollFlags::EPOLLIN | EpollFlags::EPOLLET;
        epoll.add(central.wakers().of(slot), EpollEvent::new(edge, SYNCED))?;
        Ok(FilesWorker {
            unpublished: Unpublished::default(),
            draw: DrawAttempt::new(drawn),
            gathers_since: None,
            disk_retried: None,
        })
    }

    fn check_names(central: &mut Central<Self>) -> Result<(), Fatal> {
        central.check_names()
    }

    fn is_ready(_worker: &FilesWorker) -> bool {
        true
    }

    fn note_ready(_worker: &mut FilesWorker) {}

    fn patience(requests: &Requests<'_, Self>) -> Option<Duration> {
        if requests.kept.draw.is_under_way() {
            return Some(Duration::ZERO);
        }
        waits(requests).then_some(SYNC_CHECK)
    }

    fn is_held(_requests: &Requests<'_, Self>) -> bool {
        false
    }

    fn commit_full(requests: &mut Requests<'_, Self>) -> Result<(), Fatal> {
        commit(requests)
    }

    fn must_end(requests: &Requests<'_, Self>) -> bool {
        let kept = requests.round.answer_bytes() + requests.kept.unpublished.answer_bytes();
        kept >= MAX_ANSWER_BYTES
    }

    fn end_round(
        requests: &mut Requests<'_, Self>,
        is_crowded: bool,
    ) -> Result<Vec<Answerable>, Fatal> {
        // Not directly after the commit that made it due, so that it is published first.
        requests.central.sync_early()?;
        let mut answerable = Vec::new();
        loop {
            let gathers = is_crowded && gathers(requests);
            if !gathers {
                commit(requests)?;
            }
            let Requests { slot, central, kept, .. } = requests;
            answerable.extend(kept.unpublished.publish(central, *slot)?);
            // The sync may have ended meanwhile.
            if !gathers || central.awaits_sync(*slot) {
                return Ok(answerable);
            }
        }
    }

    fn results(
        requests: &mut Requests<'_, Self>,
        _origin: &Origin,
        codec: &mut dyn CentralCodec,
    ) -> Result<RequestOutcome, Fatal> {
        let results = match requests.central.results()? {
            Ok(results) => results,
            Err(rejected) => return Ok(refuse(codec, &rejected)),
        };
        requests.central.shared().worker_queries.fetch_add(requests.slot, 1);
        Ok(totals(results, codec))
    }

    fn finishes(worker: &FilesWorker) -> Vec<Token> {
        worker.unpublished.finishes().collect()
    }

    fn advance_draw(requests: &mut Requests<'_, Self>) -> Result<(), Fatal> {
        let Requests { slot, central, kept, .. } = requests;
        kept.draw.advance(central, *slot)
    }

    fn give_up_draw(requests: &mut Requests<'_, Self>) {
        requests.kept.draw.give_up(requests.central);
    }

    fn open_draw(central: &mut Central<Self>) -> Result<bool, Rejected> {
        if central.was_drawn() {
            central.open_draw()?;
        }
        Ok(central.was_drawn())
    }

    /// Tests, once per second, whether a disk that has refused a batch accepts writes again.
    /// Without this test the central would seem unhealthy until the next batch.
    fn check(requests: &mut Requests<'_, Self>) -> Result<(), Fatal> {
        let now = Instant::now();
        let Requests { central, kept, .. } = requests;
        let refuses = central.shared().disk_refused.load() != 0;
        if refuses && kept.disk_retried.is_none_or(|time| now >= time + DISK_RETRY) {
            kept.disk_retried = Some(now);
            central.retry_disk()?;
        }
        Ok(())
    }

    fn is_done(requests: &mut Requests<'_, Self>, _is_overdue: bool) -> Result<bool, Fatal> {
        Ok(!waits(requests))
    }
}

/// Returns true if a request waits to be committed or published.
fn waits(requests: &Requests<'_, Files>) -> bool {
    !requests.round.is_empty() || !requests.kept.unpublished.is_empty()
}

/// Returns true if the round should gather more requests while another process syncs. That sync
/// does not cover them, and they are committed faster together.
fn gathers(requests: &mut Requests<'_, Files>) -> bool {
    let round = &requests.round;
    if round.is_empty()
        || round.is_full()
        || Files::must_end(requests)
        || !requests.central.is_syncing()
    {
        return false;
    }
    let now = Instant::now();
    now - *requests.kept.gathers_since.get_or_insert(now) < SYNC_CHECK
}

/// Commits what the round holds, and releases the in-flight marks of rejected batches.
fn commit(requests: &mut Requests<'_, Files>) -> Result<(), Fatal> {
    let Requests { slot, central, round, kept, .. } = requests;
    if round.is_empty() {
        return Ok(());
    }
    let (group, agencies, sessions) = round.contents();
    let start = Instant::now();
    let results = central.commit(group, agencies, sessions)?;
    central.record(LatencyPhase::Commit, start);
    kept.gathers_since = None;
    let totals = results.totals;
    let results = results.batches.into_iter().chain(results.finished).chain(results.sessions);
    let answerable = round.take_tickets().zip(results).inspect(|(ticket, result)| {
        if ticket.in_flight && result.is_err() {
            central.abandon(*slot);
        }
    });
    kept.unpublished.push(totals, answerable);
    Ok(())
}
