//! The next request to the engine: which one it is, and what it contains.

use std::time::Instant;

use postgres_link::Request;

use super::link::LinkEvent;
use super::outcome;
use super::state::Step;
use crate::central::{Fatal, OperatorCommand};
use crate::engine::statements::{self, WorkerRow};
use crate::engine::{Engine, EngineError};
use crate::worker::request::Requests;

/// Handles what has happened to the connection, and sends what can be sent. Never blocks.
pub fn advance(requests: &mut Requests<'_, Engine>) -> Result<(), Fatal> {
    let now = Instant::now();
    loop {
        while let Some(event) = requests.kept.link.advance(now) {
            handle(requests, event)?;
        }
        let kept = &requests.kept;
        if kept.under_way.is_some() || !kept.link.is_free(now) {
            break;
        }
        let Some(step) = next_step(requests, now) else { break };
        send(requests, step, now)?;
    }
    // Without a place in the set, the worker would never learn of the reply.
    requests.kept.link.register().map_err(|errno| Fatal::Engine(EngineError::Socket(errno)))
}

fn handle(requests: &mut Requests<'_, Engine>, event: LinkEvent) -> Result<(), Fatal> {
    let Requests { central, kept, .. } = requests;
    match event {
        LinkEvent::Connected => {}
        LinkEvent::Lost => kept.note_loss(central),
        LinkEvent::Refused => {
            kept.give_up_command(central);
            kept.under_way = None;
        }
        LinkEvent::Notified(lottery) => {
            if lottery == central.store.identity.lottery {
                kept.beat_soon();
            }
        }
        LinkEvent::Done(replies) => {
            let Some(step) = kept.under_way.take() else { return Ok(()) };
            // The engine warns if it has committed what no standby may have.
            if !replies.warnings().is_empty() {
                kept.under_way = Some(step);
                kept.link.disconnect();
                kept.note_loss(central);
                return Ok(());
            }
            outcome::handle(requests, step, &replies)?;
        }
    }
    Ok(())
}

/// Returns the next request, and takes what it needs from the round.
fn next_step(requests: &mut Requests<'_, Engine>, now: Instant) -> Option<Step> {
    let Requests { slot, central, round, kept, .. } = requests;
    let in_flight = i32::from(central.shared().in_flight.load(*slot));
    if kept.epoch.is_none() {
        return Some(Step::Claim);
    }
    // What may have reached the engine before comes first.
    if !kept.work.is_empty() {
        return Some(Step::Work(in_flight - i32::from(kept.work.marks())));
    }
    if !kept.finish.tickets.is_empty() {
        return Some(Step::Finish);
    }
    if kept.is_beat_due(now) {
        return Some(Step::Beat(in_flight));
    }
    let has_work = round.has_batches() || !kept.queries.is_empty();
    if round.has_finishes() && (kept.finishes_first || !has_work) {
        kept.finishes_first = false;
        (kept.finish.agencies, kept.finish.tickets) = round.take_finishes();
        return Some(Step::Finish);
    }
    if has_work {
        kept.finishes_first = true;
        let empty = std::mem::take(&mut kept.empty);
        let spent = std::mem::replace(&mut kept.work.group, empty);
        (kept.work.group, kept.work.batches) = round.take_batches(spent);
        (kept.work.sessions, kept.work.questions) = round.take_sessions();
        kept.work.queries = std::mem::take(&mut kept.queries);
        return Some(Step::Work(in_flight - i32::from(kept.work.marks())));
    }
    if kept.is_draw_due() {
        return Some(Step::Draw);
    }
    if central.was_drawn() && !central.has_draw() && kept.copying.may_continue(now) {
        return Some(Step::Copy);
    }
    if let Some((word, command)) = central.take_command(*slot) {
        return Some(Step::Command(word, command));
    }
    if in_flight != kept.marked {
        return Some(Step::Mark(in_flight));
    }
    kept.has_to_release().then_some(Step::Release)
}

fn send(requests: &mut Requests<'_, Engine>, step: Step, now: Instant) -> Result<(), Fatal> {
    let mut request = requests.kept.link.new_request();
    write(requests, step, &mut request, now).map_err(|error| Fatal::Engine(error.into()))?;
    requests.kept.under_way = Some(step);
    requests.kept.link.send(request, now);
    Ok(())
}

fn write(
    requests: &mut Requests<'_, Engine>,
    step: Step,
    request: &mut Request,
    now: Instant,
) -> Result<(), postgres_link::RequestError> {
    let Requests { slot, central, kept, .. } = requests;
    let Engine { identity, slots, .. } = &central.store;
    let lottery = &identity.lottery;
    let row = WorkerRow { identity, slot: *slot, epoch: kept.epoch.unwrap_or(0) };
    match step {
        Step::Claim => statements::claim(identity, *slot, request),
        Step::Work(left) => {
            let in_flight = central.shared().in_flight.load(*slot);
            let marks_first = kept.marked == 0 && kept.work.marks() > 0;
            let marked = marks_first.then_some(i32::from(in_flight));
            // Before the totals are read, so that no batch of this central is in neither number.
            kept.work.in_flight = central.shared().agencies_in_flight();
            kept.is_sent = true;
            kept.work.write(&row, kept.seq, marked, left, request)
        }
        Step::Finish => statements::finish(lottery, &kept.finish.agencies, request),
        Step::Beat(in_flight) => {
            kept.note_beat(now);
            row.beat(in_flight, *slots, kept.known, request)
        }
        Step::Mark(in_flight) => row.mark(in_flight, request),
        Step::Draw => statements::hold_draw(lottery, request),
        Step::Copy => row.draw_after(kept.copying.after, request),
        Step::Command(_, OperatorCommand::Confirm) => {
            statements::operate(lottery, "confirm", request)
        }
        Step::Command(_, OperatorCommand::Reopen) => {
            statements::operate(lottery, "reopen", request)
        }
        Step::Release => row.release(request),
    }
}
