//! Rules about a draw of all agencies: when each agency is answered, and with which winners.
//!
//! Agency 1 finishes last, when all others have finished and are waiting. The agency with the
//! highest number also tries the rules of `--beyond`. Every wait ends within the reply timeout,
//! even if the server does not answer.

use std::thread::sleep;

use lottery::protocol::NewAgency;

use super::bets;
use super::connection::TestConnection;
use super::report::Report;
use super::row::{Method, Row, Violation};
use super::target::Target;
use super::test_agency::{TestAgency, Winners, concurrently};

/// Expected and received text of the rules about the time after the draw, if there was no draw.
const A_DRAW: &str = "a draw";
const NO_DRAW: &str = "agency 1 was not answered";

/// The rules of a draw.
const STORED: &str = "every batch of agencies that send at the same time is acknowledged";
const NOTIFIED: &str = "every notification that all bets are sent is acknowledged";
const WAITS: &str = "no agency is answered before the last one has finished";
const DISTINCT: &str = "a repeated notification of one agency does not count for another";
const OWN: &str = "then every agency is answered with exactly its own winners";
const RETURNS: &str = "an agency that disconnects before the draw is answered when it reconnects";
const AGAIN: &str = "a query after the draw is answered with the same winners";
const LATE: &str = "a batch after the draw is not acknowledged";

/// The rules of a draw where batches have keys. That a repetition is stored once follows from the
/// winners of each agency, because every batch is sent twice.
const REPEATED: &str = "every batch that is sent again before the draw gets the same reply";
const REPEATED_LATE: &str = "a batch that is sent again after the draw gets the same reply";

/// Expected text of the rules about repetitions.
const SAME_REPLY: &str = "the bytes of the first reply";

/// Expected text of the rules about the time before the draw.
const NO_ANSWER: &str = "nothing before agency 1 has finished";

/// A draw with test agencies.
pub(super) struct Draw<'t> {
    pub(super) target: &'t Target,
    /// Creates the codec of an agency.
    pub(super) new_codec: NewAgency,
    /// Number of agencies that the server waits for, at least 2. They have the numbers from 1.
    pub(super) agencies: u16,
    /// True if batches have keys.
    pub(super) has_keys: bool,
    /// True if the rules beyond the original systems are tried. They can spoil the draw of a server
    /// that does not keep them.
    pub(super) beyond: bool,
}

/// Results of an agency's requests before the draw.
struct Submission {
    /// Acknowledgement of all batches.
    stored: Result<(), String>,
    /// Repetition of each batch; `Ok` if batches have no keys.
    repeated: Result<(), String>,
    /// Acknowledgement of the notification; `Ok` if the dialect has none.
    notified: Result<(), String>,
    /// Sending of the query for the winners.
    queried: Result<(), String>,
}

impl<'t> Draw<'t> {
    fn agency(&self, number: u16) -> TestAgency<'t> {
        TestAgency::new(number, self.target, self.new_codec)
    }

    /// Returns the names of the rules that [`run`](Self::run) reports.
    pub(super) fn rules(&self) -> Vec<&'static str> {
        let notifies = self.agency(1).notifies();
        let all = [
            (STORED, true),
            (REPEATED, self.has_keys),
            (NOTIFIED, notifies),
            (WAITS, true),
            (DISTINCT, self.beyond),
            (OWN, true),
            (RETURNS, self.beyond),
            (AGAIN, true),
            (LATE, true),
            (REPEATED_LATE, self.has_keys),
        ];
        all.into_iter().filter_map(|(rule, is_tried)| is_tried.then_some(rule)).collect()
    }

    /// Runs the draw and reports its rules. `first` is the first connection. Returns true if the
    /// server accepts bets after the draw.
    pub(super) fn run(&self, first: TestConnection, report: &mut Report) -> bool {
        let mut waiting: Vec<_> = (2..=self.agencies).map(|number| self.agency(number)).collect();
        if let Some(agency) = waiting.first_mut() {
            agency.adopt(first);
        }
        let mut submissions = concurrently(&mut waiting, |agency| self.submit(agency));
        let queried = first_failure(submissions.iter().map(|sent| sent.queried.clone()), 2);
        let early = self.expect_silence(&mut waiting);
        let repeated = self.beyond.then(|| self.notify_again(&mut waiting));
        if self.beyond {
            // The last agency disconnects before the draw.
            drop(waiting.pop());
        }

        let mut last = self.agency(1);
        let notifies = last.notifies();
        submissions.insert(0, self.submit(&mut last));
        waiting.insert(0, last);
        let answers = concurrently(&mut waiting, |agency| (agency.number, agency.winners()));

        let stored = submissions.iter().map(|sent| sent.stored.clone());
        report.add(row(STORED, Violation::of("every batch stored", first_failure(stored, 1))));
        if self.has_keys {
            let repeated = submissions.iter().map(|sent| sent.repeated.clone());
            report.add(row(REPEATED, Violation::of(SAME_REPLY, first_failure(repeated, 1))));
        }
        if notifies {
            let notified = submissions.iter().map(|sent| sent.notified.clone());
            report.add(row(
                NOTIFIED,
                Violation::of("every notification acknowledged", first_failure(notified, 1)),
            ));
        }
        report.add(row(WAITS, Violation::of(NO_ANSWER, queried.and(early))));
        if let Some(repeated) = repeated {
            report.add(row(DISTINCT, Violation::of(NO_ANSWER, repeated)).beyond());
        }
        let wrong = answers.iter().find_map(|(number, answer)| wrong_answer(*number, answer));
        report.add(row(OWN, wrong));
        if self.beyond {
            let answer = self.agency(self.agencies).winners();
            report.add(row(RETURNS, wrong_answer(self.agencies, &answer)).beyond());
        }
        let first_answer = answers.into_iter().next().and_then(|(_, answer)| answer.ok());
        let was_drawn = first_answer.is_some();
        let accepts_bets = self.check_after(first_answer, report);
        if self.has_keys {
            let repeated = match waiting.first_mut() {
                Some(agency) if was_drawn => agency.repeat(),
                _ => Err(NO_DRAW.to_owned()),
            };
            report.add(row(REPEATED_LATE, Violation::of(SAME_REPLY, repeated)));
        }
        accepts_bets
    }

    /// Sends all bets of an agency, its notification, and the query for its winners. Sends each
    /// batch twice if batches have keys.
    fn submit(&self, agency: &mut TestAgency<'_>) -> Submission {
        let (mut stored, mut repeated) = (Ok(()), Ok(()));
        // Every batch is sent, even if an earlier one fails.
        for (number, batch) in (1..).zip(&bets::batches(agency.number)) {
            let of_batch = |received| format!("batch {number}: {received}");
            stored = stored.and(agency.store(batch).map(drop).map_err(of_batch));
            if self.has_keys {
                repeated = repeated.and(agency.repeat().map_err(of_batch));
            }
        }
        Submission { stored, repeated, notified: agency.notify(), queried: agency.query() }
    }

    /// Listens for a moment. The error is what a waiting agency has received too early.
    fn expect_silence(&self, waiting: &mut [TestAgency<'_>]) -> Result<(), String> {
        sleep(self.target.silence());
        let early = |agency: &mut TestAgency<'_>| {
            agency.early_answer().map(|received| of_agency(agency.number, &received))
        };
        waiting.iter_mut().find_map(early).map_or(Ok(()), Err)
    }

    /// Makes the agency with the highest number notify again, on another connection.
    fn notify_again(&self, waiting: &mut [TestAgency<'_>]) -> Result<(), String> {
        let mut again = self.agency(self.agencies);
        let sent = again.notify().and_then(|()| again.query());
        sent.map_err(|received| of_agency(self.agencies, &received))?;
        self.expect_silence(std::slice::from_mut(&mut again))?;
        self.expect_silence(waiting)
    }

    /// Checks the rules about the time after the draw. `first_answer` is the answer to agency 1;
    /// without one there was no draw. Returns true if the server accepts bets after it.
    fn check_after(&self, first_answer: Option<Winners>, report: &mut Report) -> bool {
        let mut late = self.agency(1);
        let repeated = match &first_answer {
            Some(first) => late.winners().and_then(|winners| expect_same(first, &winners)),
            None => Err(NO_DRAW.to_owned()),
        };
        let expected = first_answer.as_ref().map_or(A_DRAW.to_owned(), Winners::to_string);
        report.add(row(AGAIN, Violation::of(expected, repeated)).beyond());

        let batch = bets::batches(1).into_iter().next().unwrap_or_default();
        let refused = match &first_answer {
            Some(_) => late.connect().and_then(|()| match late.store(&batch) {
                Ok(_) => Err("it was acknowledged".to_owned()),
                Err(_refused) => Ok(()),
            }),
            None => Err(NO_DRAW.to_owned()),
        };
        let expected = if first_answer.is_some() { "an error, or no reply" } else { A_DRAW };
        let accepts = first_answer.is_none() || refused.is_err();
        report.add(row(LATE, Violation::of(expected, refused)).beyond());
        accepts
    }
}

/// Fails with the text of `winners` if they differ from the expected ones.
fn expect_same(expected: &Winners, winners: &Winners) -> Result<(), String> {
    if winners == expected { Ok(()) } else { Err(winners.to_string()) }
}

/// Returns a violation if the answer is not exactly the winners of agency `number`.
fn wrong_answer(number: u16, answer: &Result<Winners, String>) -> Option<Violation> {
    let own = bets::winning_documents(number);
    let (expected, received) = match answer {
        Ok(winners) => {
            let expected = Winners::of(own, winners);
            if *winners == expected {
                return None;
            }
            (expected.to_string(), winners.to_string())
        }
        Err(received) => {
            (Winners { count: own.len() as u64, documents: None }.to_string(), received.clone())
        }
    };
    let (expected, received) = (of_agency(number, &expected), of_agency(number, &received));
    Some(Violation { expected, received })
}

/// Returns the first error of the results, which belong to the agencies from number `first` on.
fn first_failure(
    results: impl Iterator<Item = Result<(), String>>,
    first: u16,
) -> Result<(), String> {
    (first..)
        .zip(results)
        .try_for_each(|(number, result)| result.map_err(|received| of_agency(number, &received)))
}

fn of_agency(agency: u16, text: &str) -> String {
    format!("agency {agency}: {text}")
}

fn row(rule: &str, violation: Option<Violation>) -> Row {
    Row::new(rule, Method::Draw, violation)
}
