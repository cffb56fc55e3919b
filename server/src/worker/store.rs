//! What a worker and the supervisor ask of the store of the bets: files of this central, or an
//! engine that several centrals share.
//!
//! A round is prepared in the same way for both. The store says when it is committed, and which
//! tickets may be answered then: files at the end of the round, an engine when it has said so.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use lottery::protocol::CentralCodec;
use nix::sys::epoll::Epoll;
use nix::sys::eventfd::EventFd;

use super::WorkerError;
use super::request::{Origin, RequestOutcome, Requests};
use super::round::Answerable;
use super::table::Token;
use crate::central::{Central, Fatal, RepairError};
use crate::config::Config;

/// A store of bets.
pub trait Store: Debug + Sized {
    /// What one worker keeps for it.
    type Worker: Debug;

    /// Repairs what a dead worker left, as the supervisor.
    fn repair(central: &Central<Self>, slot: usize) -> Result<(), RepairError>;

    /// Changes what the draw waits for, as the supervisor. Returns false if bets are closed.
    fn expect(central: &mut Central<Self>, read: &Config) -> Result<bool, RepairError>;

    /// Closes the store after every worker has exited.
    fn close(central: &mut Central<Self>) -> Result<(), Fatal>;

    /// Opens the store for the worker in a slot. `drawn` wakes every worker when it is written to.
    fn open(
        central: &mut Central<Self>,
        slot: usize,
        epoll: &Epoll,
        drawn: Arc<EventFd>,
    ) -> Result<Self::Worker, WorkerError>;

    /// Fails if another program has taken something away that this central relies on by name.
    fn check_names(central: &mut Central<Self>) -> Result<(), Fatal>;

    /// Returns true if the store takes batches, or has not become ready for so long that clients
    /// should wait for it in their connections.
    fn is_ready(worker: &Self::Worker) -> bool;

    /// Notes that the descriptor of the store is ready.
    fn note_ready(worker: &mut Self::Worker);

    /// Returns how long the event loop may wait for events at most, if the store limits that.
    fn patience(requests: &Requests<'_, Self>) -> Option<Duration>;

    /// Returns true while nothing more may be read from clients, because the store is behind and
    /// memory is limited.
    fn is_held(requests: &Requests<'_, Self>) -> bool;

    /// Commits the round before it grows further, if that is possible now.
    fn commit_full(requests: &mut Requests<'_, Self>) -> Result<(), Fatal>;

    /// Returns true if the round should end before it grows further.
    fn must_end(requests: &Requests<'_, Self>) -> bool;

    /// Ends the round: commits it if that is possible now. `is_crowded` is true if the worker has
    /// many connections. Returns the tickets to answer, of this round and of earlier ones.
    fn end_round(
        requests: &mut Requests<'_, Self>,
        is_crowded: bool,
    ) -> Result<Vec<Answerable>, Fatal>;

    /// Answers a query for the winners so far, at once or with a ticket.
    fn results(
        requests: &mut Requests<'_, Self>,
        origin: &Origin,
        codec: &mut dyn CentralCodec,
    ) -> Result<RequestOutcome, Fatal>;

    /// Returns the connections of the finish marks that are committed and not answered.
    fn finishes(worker: &Self::Worker) -> Vec<Token>;

    /// Does this round's part of the draw and of the commands of an operator.
    fn advance_draw(requests: &mut Requests<'_, Self>) -> Result<(), Fatal>;

    /// Gives up this worker's part in the draw, because it ends.
    fn give_up_draw(requests: &mut Requests<'_, Self>);

    /// Makes the result of the draw readable for this process. Returns false if it is not yet.
    fn open_draw(central: &mut Central<Self>) -> Result<bool, crate::central::Rejected>;

    /// Does what is due every 250 ms.
    fn check(requests: &mut Requests<'_, Self>) -> Result<(), Fatal>;

    /// Returns true if this worker may exit: no request is left whose outcome is unknown.
    fn is_done(requests: &mut Requests<'_, Self>, is_overdue: bool) -> Result<bool, Fatal>;
}
