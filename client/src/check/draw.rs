//! A draw with all the agencies: who is answered when, and with which winners.
//!
//! Agency 1 comes last, when all the others have finished and wait; the agency with the highest number does what only `--beyond`
//! asks for. Every wait is over within the patience of the examination, whatever the server does.

use std::thread::sleep;

use lottery::protocol::NewAgency;

use super::agency::{Agency, Winners, at_once};
use super::bets;
use super::door::Door;
use super::report::Report;
use super::row::{Broken, How, Row};

/// What a rule about the time after the draw needs, and what came where there was none.
const A_DRAW: &str = "a draw";
const NO_DRAW: &str = "agency 1 was not answered";

/// A draw that is being held.
pub(super) struct Draw<'d> {
    door: &'d Door,
    /// Begins an agency's side of the dialect.
    begin: NewAgency,
    /// Agencies that the server waits for.
    agencies: u16,
    /// Whether to try also what takes the draw away from a server that is not made for it.
    beyond: bool,
}

/// How far an agency came with its bets.
struct Attendance {
    /// Whether each of its batches was acknowledged.
    stored: Result<(), String>,
    /// Whether its notification was, if it has one.
    notified: Result<(), String>,
    /// Whether it could ask for its winners.
    asked: Result<(), String>,
}

impl<'d> Draw<'d> {
    /// A draw of agencies 1 to `agencies`, at least 2, that has not begun.
    pub(super) fn new(door: &'d Door, begin: NewAgency, agencies: u16, beyond: bool) -> Self {
        Self { door, begin, agencies, beyond }
    }

    fn agency(&self, number: u16) -> Agency<'d> {
        Agency::new(number, self.door, self.begin)
    }

    /// Holds it.
    pub(super) fn hold(&self, report: &mut Report) {
        let mut waiting: Vec<_> = (2..=self.agencies).map(|number| self.agency(number)).collect();
        let mut attendances = at_once(&mut waiting, attend);
        let asked = first_failure(attendances.iter().map(|attendance| attendance.asked.clone()), 2);
        let early = self.wait_in_vain(&mut waiting);
        let second = self.beyond.then(|| self.notify_again(&mut waiting));
        // It had its turn as one that waits.
        let left = if self.beyond { waiting.pop() } else { None };
        drop(left);

        let mut last = self.agency(1);
        let notifies = last.notifies();
        attendances.insert(0, attend(&mut last));
        waiting.insert(0, last);
        let answers = at_once(&mut waiting, |agency| (agency.number, agency.winners()));

        let stored = attendances.iter().map(|attendance| attendance.stored.clone());
        report.add(row(
            "every batch of agencies that send at the same time is acknowledged",
            Broken::unless("every batch stored", first_failure(stored, 1)),
        ));
        if notifies {
            let notified = attendances.iter().map(|attendance| attendance.notified.clone());
            report.add(row(
                "every notification that all bets are sent is acknowledged",
                Broken::unless("every notification acknowledged", first_failure(notified, 1)),
            ));
        }
        report.add(row(
            "nobody is answered before the last agency has finished",
            Broken::unless("nothing before agency 1 has finished", asked.and(early)),
        ));
        if let Some(second) = second {
            let rule = "a second notification of one agency does not count for another";
            let broken = Broken::unless("nothing before agency 1 has finished", second);
            report.add(row(rule, broken).beyond());
        }
        let wrong = answers.iter().find_map(|(number, answer)| wrong_answer(*number, answer));
        report.add(row("after that every agency is answered with exactly its own winners", wrong));
        if self.beyond {
            let returned = self.agency(self.agencies).winners();
            let rule = "an agency that left before the draw is answered when it comes back";
            report.add(row(rule, wrong_answer(self.agencies, &returned)).beyond());
        }
        let before = answers.into_iter().next().and_then(|(_, answer)| answer.ok());
        self.after(before, report);
    }

    /// Listens for a moment; what an agency hears that must wait.
    fn wait_in_vain(&self, waiting: &mut [Agency<'_>]) -> Result<(), String> {
        sleep(self.door.silence());
        let heard = |agency: &mut Agency<'_>| {
            agency.early_answer().map(|came| in_words(agency.number, &came))
        };
        waiting.iter_mut().find_map(heard).map_or(Ok(()), Err)
    }

    /// Lets the agency with the highest number notify once more, on another connection.
    fn notify_again(&self, waiting: &mut [Agency<'_>]) -> Result<(), String> {
        let mut again = self.agency(self.agencies);
        again.notify().and_then(|()| again.ask()).map_err(|came| in_words(self.agencies, &came))?;
        self.wait_in_vain(std::slice::from_mut(&mut again))?;
        self.wait_in_vain(waiting)
    }

    /// Tries what must hold when the draw is over. `before`: what agency 1 was answered; without an answer there was no draw.
    fn after(&self, before: Option<Winners>, report: &mut Report) {
        let mut late = self.agency(1);
        let again = match &before {
            Some(before) => late.winners().and_then(|again| same(before, &again)),
            None => Err(NO_DRAW.to_owned()),
        };
        let expected = before.as_ref().map_or(A_DRAW.to_owned(), Winners::to_string);
        let rule = "a question after the draw is answered as before";
        report.add(row(rule, Broken::unless(expected, again)).beyond());

        let batch = bets::batches(1).into_iter().next().unwrap_or_default();
        let refused = match &before {
            Some(_) => late.arrive().and_then(|()| match late.store(&batch) {
                Ok(_) => Err("it was acknowledged".to_owned()),
                Err(_refused) => Ok(()),
            }),
            None => Err(NO_DRAW.to_owned()),
        };
        let expected = if before.is_some() { "an error, or no reply" } else { A_DRAW };
        let rule = "a batch after the draw is not acknowledged";
        report.add(row(rule, Broken::unless(expected, refused)).beyond());
    }
}

/// Sends all bets of an agency, says so, and asks for its winners.
fn attend(agency: &mut Agency<'_>) -> Attendance {
    let batches = bets::batches(agency.number);
    let stored = (1..).zip(&batches).map(|(number, batch)| {
        let stored = agency.store(batch);
        stored.map(|_| ()).map_err(|came| format!("batch {number}: {came}"))
    });
    // All are sent, whatever becomes of one.
    let stored = stored.fold(Ok(()), Result::and);
    Attendance { stored, notified: agency.notify(), asked: agency.ask() }
}

/// Whether winners are the same as others; otherwise what they are.
fn same(expected: &Winners, winners: &Winners) -> Result<(), String> {
    if winners == expected { Ok(()) } else { Err(winners.to_string()) }
}

/// What is wrong with what an agency was answered, if anything is.
fn wrong_answer(number: u16, answer: &Result<Winners, String>) -> Option<Broken> {
    let own = bets::winning_documents(number);
    let (expected, came) = match answer {
        Ok(winners) => {
            let expected = Winners::of(own, winners);
            if *winners == expected {
                return None;
            }
            (expected.to_string(), winners.to_string())
        }
        Err(came) => {
            (Winners { count: own.len() as u64, documents: None }.to_string(), came.clone())
        }
    };
    Some(Broken { expected: in_words(number, &expected), came: in_words(number, &came) })
}

/// The first failure of the agencies from number `first` on.
fn first_failure(
    results: impl Iterator<Item = Result<(), String>>,
    first: u16,
) -> Result<(), String> {
    (first..)
        .zip(results)
        .try_for_each(|(number, result)| result.map_err(|came| in_words(number, &came)))
}

fn in_words(agency: u16, what: &str) -> String {
    format!("agency {agency}: {what}")
}

fn row(rule: &str, broken: Option<Broken>) -> Row {
    Row::new(rule, How::Draw, broken)
}
