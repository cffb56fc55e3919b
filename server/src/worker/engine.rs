//! An engine as the store of a worker: what arrives while a statement is under way forms the next
//! group, and is answered once the engine has said what became of it.
//!
//! The engine executes one request of a worker at a time. A group is kept until its outcome is
//! known. After a lost connection the new one claims the row of the worker, which fences the old
//! one, and learns whether the group is stored.

mod draw_copy;
mod link;
mod outcome;
mod state;
mod steps;
mod work;

use std::sync::Arc;
use std::time::{Duration, Instant};

use conventions::log_line::{Outcome, warn};
use lottery::protocol::CentralCodec;
use nix::sys::epoll::Epoll;
use nix::sys::eventfd::EventFd;
use postgres_link::Param;

pub use self::state::EngineWorker;
use super::WorkerError;
use super::request::{Origin, RequestOutcome, Requests};
use super::round::{Answerable, Pending};
use super::store::Store;
use super::table::Token;
use super::unpublished::MAX_ANSWER_BYTES;
use crate::central::{Central, Fatal, Rejected, RepairError};
use crate::config::Config;
use crate::engine::{self, Engine, Expected};

/// Time that the supervisor waits for the engine when it reloads or stops.
const SUPERVISOR_LIMIT: Duration = Duration::from_secs(2);

impl Store for Engine {
    type Worker = EngineWorker;

    /// What the dead worker has sent is stored or not, and nothing of it was acknowledged. The
    /// claim of its successor takes its agencies out of flight for other centrals.
    fn repair(central: &Central<Self>, slot: usize) -> Result<(), RepairError> {
        central.shared().clear_worker(slot);
        Ok(())
    }

    fn expect(central: &mut Central<Self>, read: &Config) -> Result<bool, RepairError> {
        let expected = Expected::of(read);
        let [agencies, roster, confirm] = expected.params();
        let lottery = Param::Text(&central.store.identity.lottery);
        let params = [lottery, agencies, roster, confirm];
        let sql = "SELECT lottery.expect($1, $2, $3, $4)";
        let replies = engine::with_session(&central.store, SUPERVISOR_LIMIT, sql, &params);
        let replies = replies.map_err(RepairError::Engine)?;
        let changed = replies.of(0).first().map_or(Ok(false), |row| row.get(0));
        let changed = changed.map_err(|error| RepairError::Engine(error.to_string()))?;
        if changed {
            central.set_roster(read.roster.clone());
            central.shared().expected.store(read.agencies.into());
        }
        Ok(changed)
    }

    /// Ends the leases, so that another central may have the name at once.
    fn close(central: &mut Central<Self>) -> Result<(), Fatal> {
        if let Err(reason) = engine::stop(&central.store, SUPERVISOR_LIMIT) {
            warn("engine", Outcome::Fail)
                .with("error", reason)
                .with("next", "stop; the name of this central is free in 10 s")
                .write();
        }
        Ok(())
    }

    fn open(
        central: &mut Central<Self>,
        slot: usize,
        epoll: &Epoll,
        _drawn: Arc<EventFd>,
    ) -> Result<EngineWorker, WorkerError> {
        Ok(EngineWorker::new(central.store.servers.clone(), slot, epoll)?)
    }

    fn check_names(central: &mut Central<Self>) -> Result<(), Fatal> {
        central.check_memory()
    }

    fn is_ready(worker: &EngineWorker) -> bool {
        worker.is_ready(Instant::now())
    }

    fn note_ready(worker: &mut EngineWorker) {
        worker.link.note_ready();
    }

    fn patience(requests: &Requests<'_, Self>) -> Option<Duration> {
        Some(requests.kept.patience(Instant::now()))
    }

    fn is_held(requests: &Requests<'_, Self>) -> bool {
        let Requests { round, kept, .. } = requests;
        let kept_bytes = round.answer_bytes() + kept.work.answer_bytes();
        kept.is_behind() && (round.is_full() || kept_bytes >= MAX_ANSWER_BYTES)
    }

    fn commit_full(requests: &mut Requests<'_, Self>) -> Result<(), Fatal> {
        steps::advance(requests)
    }

    fn must_end(_requests: &Requests<'_, Self>) -> bool {
        false
    }

    fn end_round(
        requests: &mut Requests<'_, Self>,
        _is_crowded: bool,
    ) -> Result<Vec<Answerable>, Fatal> {
        steps::advance(requests)?;
        Ok(std::mem::take(&mut requests.kept.answerable))
    }

    fn results(
        requests: &mut Requests<'_, Self>,
        origin: &Origin,
        _codec: &mut dyn CentralCodec,
    ) -> Result<RequestOutcome, Fatal> {
        let ticket = requests.round.ticket(origin, Pending::Results);
        requests.kept.queries.push(ticket);
        Ok(RequestOutcome::Committing)
    }

    fn finishes(worker: &EngineWorker) -> Vec<Token> {
        worker.finish.tickets.iter().map(|ticket| ticket.connection).collect()
    }

    fn advance_draw(_requests: &mut Requests<'_, Self>) -> Result<(), Fatal> {
        Ok(())
    }

    fn give_up_draw(requests: &mut Requests<'_, Self>) {
        requests.kept.give_up_command(requests.central);
    }

    fn open_draw(central: &mut Central<Self>) -> Result<bool, Rejected> {
        Ok(central.has_draw())
    }

    fn check(requests: &mut Requests<'_, Self>) -> Result<(), Fatal> {
        let Requests { slot, central, kept, .. } = requests;
        let shared = central.shared();
        shared.worker_without_engine.store(*slot, kept.is_unclaimed().into());
        // A notification may be lost with its connection.
        if shared.worker_waiting.load(*slot) > 0 && !central.has_draw() {
            kept.beat_soon();
        }
        Ok(())
    }

    fn is_done(requests: &mut Requests<'_, Self>, is_overdue: bool) -> Result<bool, Fatal> {
        if requests.round.is_empty() && requests.kept.has_nothing_left() {
            requests.kept.release();
            steps::advance(requests)?;
        }
        Ok(is_overdue || requests.kept.is_released())
    }
}
