//! What the reply to a request of a worker means.

use conventions::log_line::{Outcome, info, warn};
use postgres_link::{Replies, ValueError};

use super::state::{EngineWorker, Step};
use crate::central::{Accepted, Answer, Central, Fatal, OperatorCommand};
use crate::engine::statements::{self, Claim, LotteryPhase};
use crate::engine::{Engine, EngineError};
use crate::worker::request::Requests;

/// Handles the reply to a request.
pub fn handle(
    requests: &mut Requests<'_, Engine>,
    step: Step,
    replies: &Replies,
) -> Result<(), Fatal> {
    let read = match step {
        Step::Claim => statements::read_claim(replies.of(0)).map(Read::Claim),
        Step::Work(left) => return work(requests, left, replies),
        Step::Finish => statements::read_finished(replies.of(0)).map(Read::Finished),
        Step::Beat(marked) => {
            requests.kept.marked = marked;
            statements::read_state(replies.of(0)).map(Read::State)
        }
        Step::Mark(marked) => {
            requests.kept.marked = marked;
            first(replies).map(Read::Owned)
        }
        Step::Draw => first(replies).map(Read::Drawn),
        Step::Copy => requests.kept.copying.add(replies).map(Read::Copied),
        Step::Command(word, command) => {
            first(replies).map(|text: String| Read::Operated(word, command, answer_of(&text)))
        }
        Step::Release => Ok(Read::Released),
    };
    let read = read.map_err(|error| Fatal::Engine(error.into()))?;
    apply(requests, read)
}

/// What a reply says.
enum Read {
    Claim(Option<Claim>),
    Finished(Option<statements::Finished>),
    State(Option<statements::State>),
    Owned(bool),
    Drawn(Option<i64>),
    Copied(Option<crate::storage::Draw>),
    Operated(u64, OperatorCommand, Answer),
    Released,
}

fn first<T: for<'a> postgres_link::FromValue<'a>>(replies: &Replies) -> Result<T, ValueError> {
    let row = replies.of(0).first();
    row.ok_or(ValueError::NoColumn(0, 0)).and_then(|row| row.get(0))
}

fn answer_of(text: &str) -> Answer {
    match text {
        "done" => Answer::Done,
        "drawn" => Answer::Drawn,
        "open" => Answer::Open,
        "automatic" => Answer::Automatic,
        _ => Answer::Failed,
    }
}

fn apply(requests: &mut Requests<'_, Engine>, read: Read) -> Result<(), Fatal> {
    let Requests { central, kept, answers, .. } = requests;
    match read {
        Read::Claim(None) => {
            let (lottery, central) =
                (central.store.identity.lottery.clone(), central.store.identity.central.clone());
            return Err(EngineError::Replaced { lottery, central }.into());
        }
        Read::Claim(Some(claimed)) => return claim(requests, claimed),
        // Another connection owns the row: this one claims it again, or learns that it may not.
        Read::State(None) | Read::Owned(false) => kept.epoch = None,
        Read::Owned(true) => {}
        Read::State(Some(state)) => {
            kept.note_state(&state);
            central.mirror_state(&state)?;
        }
        Read::Finished(finished) => finish(kept, central, finished)?,
        Read::Drawn(over) => {
            if over == Some(0) {
                warn("draw", Outcome::Success)
                    .with("reason", "no bet is stored, so no agency has a winner")
                    .write();
            }
            // Another worker may have held it. The next heartbeat says what is the case.
            kept.phase = LotteryPhase::Open;
            kept.beat_soon();
        }
        Read::Copied(None) => {}
        Read::Copied(Some(draw)) => {
            central.set_draw(draw);
            answers.note_draw();
        }
        Read::Operated(word, command, answer) => {
            log_command(command, answer, central.shared().finished.load());
            central.end_command(word, Some(answer));
            kept.beat_soon();
        }
        Read::Released => kept.note_release(),
    }
    Ok(())
}

fn log_command(command: OperatorCommand, answer: Answer, finished: u32) {
    match (command, answer) {
        (OperatorCommand::Confirm, Answer::Done) => info("confirm_draw", Outcome::Success).write(),
        (OperatorCommand::Reopen, Answer::Done) => {
            info("reopen_bets", Outcome::Success).with("cleared_agencies", finished).write();
        }
        _ => {}
    }
}

/// Takes a claim over. It says whether the group is stored whose reply was lost.
fn claim(requests: &mut Requests<'_, Engine>, claimed: Claim) -> Result<(), Fatal> {
    let Requests { slot, central, kept, .. } = requests;
    let was_sent = std::mem::take(&mut kept.is_sent) && !kept.work.batches.is_empty();
    let (found, sent) = (claimed.seq, kept.seq);
    // The row never counts fewer groups, and only this worker adds one.
    if found < sent || (was_sent && found > sent + 1) {
        return Err(EngineError::Sequence { slot: *slot, found, sent }.into());
    }
    kept.epoch = Some(claimed.epoch);
    kept.seq = found;
    kept.marked = 0;
    kept.beat_soon();
    central.shared().worker_without_engine.store(*slot, 0);
    let resolves = was_sent && found == sent + 1;
    settle(requests, resolves.then_some(claimed.codes.as_deref()), claimed.counted)
}

/// Handles the reply to a group, questions and queries.
fn work(requests: &mut Requests<'_, Engine>, left: i32, replies: &Replies) -> Result<(), Fatal> {
    let Requests { slot, central, kept, .. } = requests;
    let read = kept.work.read(replies).map_err(|error| Fatal::Engine(error.into()))?;
    let Some(outcome) = read else {
        kept.epoch = None;
        return Ok(());
    };
    kept.is_sent = false;
    let totals = |result: &_| matches!(result, Ok(Accepted::Results(_)));
    let queries = outcome.answerable.iter().filter(|(_, result)| totals(result)).count();
    central.shared().worker_queries.fetch_add(*slot, queries as u64);
    kept.answerable.extend(outcome.answerable);
    let Some(stored) = outcome.stored else { return Ok(()) };
    kept.seq = stored.seq;
    kept.marked = left;
    settle(requests, Some(stored.codes.as_deref()), stored.counted)
}

/// Shows what the row of this worker counts, then releases the in-flight marks of the group and
/// answers it, if its outcome is known: the codes of its batches, or `None` if all are stored.
fn settle(
    requests: &mut Requests<'_, Engine>,
    outcome: Option<Option<&[i64]>>,
    counted: (u64, u64),
) -> Result<(), Fatal> {
    let Requests { slot, central, kept, .. } = requests;
    central.mirror(*slot, counted)?;
    if let Some(codes) = outcome {
        let marks = kept.work.marks();
        let answers = kept.work.resolve(codes);
        kept.answerable.extend(answers);
        if marks > 0 {
            central.shared().end_batches(*slot, marks);
        }
    }
    Ok(())
}

fn finish(
    kept: &mut EngineWorker,
    central: &Central<Engine>,
    finished: Option<statements::Finished>,
) -> Result<(), Fatal> {
    let Some(finished) = finished else { return Ok(()) };
    let statements::Finished { added, finished, expected, phase } = finished;
    for (agency, left) in added.iter().zip((0..added.len() as i64).rev()) {
        info("agency_finished", Outcome::Success)
            .with("agency", agency)
            .with("finished", finished - left)
            .with("expected", expected)
            .write();
    }
    central.mirror_finished(&added, finished, expected.unsigned_abs())?;
    let tickets = kept.finish.tickets.drain(..);
    kept.answerable.extend(tickets.map(|ticket| (ticket, Ok(Accepted::Stored))));
    kept.finish.agencies.clear();
    if phase != LotteryPhase::Open || !added.is_empty() {
        kept.beat_soon();
    }
    Ok(())
}
