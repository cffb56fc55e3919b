//! Rules about a draw of all agencies: when each agency is answered, and with which winners.
//!
//! Agency 1 finishes last, when all others have finished and are waiting. The agency with the
//! highest number also tries the rules of `--beyond`. Every wait ends within the reply timeout,
//! even if the server does not answer.

use std::cmp::Ordering;
use std::thread::sleep;

use lottery::protocol::{AgencyOptions, NewAgency};

use super::bets;
use super::connection::TestConnection;
use super::report::Report;
use super::row::{Row, Surprise, Symptom, Violation};
use super::rule::Planned;
use super::target::Target;
use super::test_agency::{TestAgency, Winners, concurrently};

/// Expected and received text of the rules about the time after the draw, if there was no draw.
const A_DRAW: &str = "a draw";
const NO_DRAW: &str = "agency 1 was not answered";

/// The rules of a draw.
const STORED: Planned = Planned::draw(
    "draw-stored",
    "every batch of agencies that send at the same time is acknowledged",
);
const NOTIFIED: Planned =
    Planned::draw("draw-notified", "every notification that all bets are sent is acknowledged");
const WAITS: Planned =
    Planned::draw("draw-waits", "no agency is answered before the last one has finished");
const DISTINCT: Planned = Planned::draw(
    "draw-distinct",
    "a repeated notification of one agency does not count for another",
)
.beyond();
const OWN: Planned =
    Planned::draw("draw-winners", "then every agency is answered with exactly its own winners");
const TORN: Planned =
    Planned::draw("draw-torn-batch", "no bet of a batch with an invalid bet takes part").beyond();
const RETURNS: Planned = Planned::draw(
    "draw-returns",
    "an agency that disconnects before the draw is answered when it reconnects",
)
.beyond();
const AGAIN: Planned =
    Planned::draw("draw-again", "a query after the draw is answered with the same winners")
        .beyond();
const LATE: Planned =
    Planned::draw("draw-late-batch", "a batch after the draw is not acknowledged").beyond();

/// The rules of a draw where batches have keys. That a repetition is stored once follows from the
/// winners of each agency, because every batch is sent twice.
const REPEATED: Planned = Planned::draw(
    "draw-repeated",
    "every batch that is sent again before the draw gets the same reply",
);
const REPEATED_LATE: Planned = Planned::draw(
    "draw-repeated-late",
    "a batch that is sent again after the draw gets the same reply",
);

/// Expected text of the rules about repetitions.
const SAME_REPLY: &str = "the bytes of the first reply";

/// Expected text of the rules about the time before the draw.
const NO_ANSWER: &str = "nothing before agency 1 has finished";

/// Returns the rules that [`Draw::run`] reports.
pub(super) fn rules(new_codec: NewAgency, has_keys: bool, beyond: bool) -> Vec<Planned> {
    let notifies = new_codec(&AgencyOptions::new(1, 1)).notification().is_some();
    let all = [
        (STORED, true),
        (REPEATED, has_keys),
        (NOTIFIED, notifies),
        (WAITS, true),
        (DISTINCT, beyond),
        (OWN, true),
        (TORN, beyond),
        (RETURNS, beyond),
        (AGAIN, true),
        (LATE, true),
        (REPEATED_LATE, has_keys),
    ];
    all.into_iter().filter_map(|(rule, is_tried)| is_tried.then_some(rule)).collect()
}

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
    stored: Result<(), Surprise>,
    /// Repetition of each batch; `Ok` if batches have no keys.
    repeated: Result<(), Surprise>,
    /// Acknowledgement of the notification; `Ok` if the dialect has none.
    notified: Result<(), Surprise>,
    /// Sending of the query for the winners.
    queried: Result<(), Surprise>,
}

impl<'t> Draw<'t> {
    fn agency(&self, number: u16) -> TestAgency<'t> {
        TestAgency::new(number, self.target, self.new_codec)
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

        if self.beyond {
            let (date, impossible) = (bets::SPOILED_DATE, bets::IMPOSSIBLE_DATE);
            let batch = bets::spoiled(1);
            self.agency(1).store_spoiled(&batch, date.as_bytes(), impossible.as_bytes());
        }
        let mut last = self.agency(1);
        let notifies = last.notifies();
        submissions.insert(0, self.submit(&mut last));
        waiting.insert(0, last);
        let answers = concurrently(&mut waiting, |agency| agency.winners());

        let stored = submissions.iter().map(|sent| sent.stored.clone());
        report.add(Row::new(STORED, Violation::of("every batch stored", first_failure(stored, 1))));
        if self.has_keys {
            let repeated = submissions.iter().map(|sent| sent.repeated.clone());
            report.add(Row::new(REPEATED, Violation::of(SAME_REPLY, first_failure(repeated, 1))));
        }
        if notifies {
            let notified = submissions.iter().map(|sent| sent.notified.clone());
            report.add(Row::new(
                NOTIFIED,
                Violation::of("every notification acknowledged", first_failure(notified, 1)),
            ));
        }
        report.add(Row::new(WAITS, Violation::of(NO_ANSWER, queried.and(early))));
        if let Some(repeated) = repeated {
            report.add(Row::new(DISTINCT, Violation::of(NO_ANSWER, repeated)));
        }
        self.check_answers(&waiting, &answers, report);
        let first_answer = answers.into_iter().next().and_then(Result::ok);
        let was_drawn = first_answer.is_some();
        let accepts_bets = self.check_after(first_answer, report);
        if self.has_keys {
            let repeated = match waiting.first_mut() {
                Some(agency) if was_drawn => agency.repeat(),
                _ => Err(no_draw()),
            };
            report.add(Row::new(REPEATED_LATE, Violation::of(SAME_REPLY, repeated)));
        }
        accepts_bets
    }

    /// Checks the answers to the agencies, and that to an agency which asks again.
    fn check_answers(
        &self,
        waiting: &[TestAgency<'_>],
        answers: &[Result<Winners, Surprise>],
        report: &mut Report,
    ) {
        let torn = self.beyond.then(|| torn_batch(waiting, answers));
        let has_torn = torn.as_ref().is_some_and(Option::is_some);
        // A winner of the invalid batch breaks one rule, not two.
        let of_agencies = waiting.iter().zip(answers).skip(usize::from(has_torn));
        let mut wrong = of_agencies.filter_map(|(agency, answer)| wrong_answer(agency, answer));
        report.add(Row::new(OWN, wrong.next()));
        if let Some(torn) = torn {
            report.add(Row::new(TORN, torn));
        }
        if self.beyond {
            let mut returned = self.agency(self.agencies);
            let answer = returned.winners();
            report.add(Row::new(RETURNS, wrong_answer(&returned, &answer)));
        }
    }

    /// Sends all bets of an agency, its notification, and the query for its winners. Sends each
    /// batch twice if batches have keys.
    fn submit(&self, agency: &mut TestAgency<'_>) -> Submission {
        let (mut stored, mut repeated) = (Ok(()), Ok(()));
        // Every batch is sent, even if an earlier one fails.
        for (number, batch) in (1..).zip(&bets::batches(agency.number)) {
            let of_batch = |received: Surprise| received.of_part(format_args!("batch {number}"));
            stored = stored.and(agency.store(batch).map(drop).map_err(of_batch));
            if self.has_keys {
                repeated = repeated.and(agency.repeat().map_err(of_batch));
            }
        }
        Submission { stored, repeated, notified: agency.notify(), queried: agency.query() }
    }

    /// Listens for a moment. The error is what a waiting agency has received too early.
    fn expect_silence(&self, waiting: &mut [TestAgency<'_>]) -> Result<(), Surprise> {
        sleep(self.target.silence());
        let early = |agency: &mut TestAgency<'_>| {
            agency.early_answer().map(|received| of_agency(agency.number, received))
        };
        waiting.iter_mut().find_map(early).map_or(Ok(()), Err)
    }

    /// Makes the agency with the highest number notify again, on another connection.
    fn notify_again(&self, waiting: &mut [TestAgency<'_>]) -> Result<(), Surprise> {
        let mut again = self.agency(self.agencies);
        let sent = again.notify().and_then(|()| again.query());
        sent.map_err(|received| of_agency(self.agencies, received))?;
        self.expect_silence(std::slice::from_mut(&mut again))?;
        self.expect_silence(waiting)
    }

    /// Checks the rules about the time after the draw. `first_answer` is the answer to agency 1;
    /// without one there was no draw. Returns true if the server accepts bets after it.
    fn check_after(&self, first_answer: Option<Winners>, report: &mut Report) -> bool {
        let mut late = self.agency(1);
        let repeated = match &first_answer {
            Some(first) => late.winners().and_then(|winners| match winners == *first {
                true => Ok(()),
                false => Err(late.wrong_answer(winners.to_string(), difference(first, &winners))),
            }),
            None => Err(no_draw()),
        };
        let expected = first_answer.as_ref().map_or(A_DRAW.to_owned(), Winners::to_string);
        report.add(Row::new(AGAIN, Violation::of(expected, repeated)));

        let batch = bets::batches(1).into_iter().next().unwrap_or_default();
        let refused = match &first_answer {
            Some(_) => late.connect().and_then(|()| match late.store(&batch) {
                Ok(_) => Err(late.acknowledged()),
                Err(_refused) => Ok(()),
            }),
            None => Err(no_draw()),
        };
        let expected = if first_answer.is_some() { "an error, or no reply" } else { A_DRAW };
        let accepts = first_answer.is_none() || refused.is_err();
        report.add(Row::new(LATE, Violation::of(expected, refused)));
        accepts
    }
}

/// Returns how the winners differ from the expected ones.
fn difference(expected: &Winners, winners: &Winners) -> Symptom {
    match winners.count.cmp(&expected.count) {
        Ordering::Less => Symptom::FewerWinners,
        Ordering::Equal => Symptom::OtherWinners,
        Ordering::Greater => Symptom::MoreWinners,
    }
}

/// Returns a violation if the answer is not exactly the winners of the agency.
fn wrong_answer(agency: &TestAgency<'_>, answer: &Result<Winners, Surprise>) -> Option<Violation> {
    let own = bets::winning_documents(agency.number);
    let (expected, received) = match answer {
        Ok(winners) => {
            let expected = Winners::of(own, winners);
            if *winners == expected {
                return None;
            }
            let symptom = difference(&expected, winners);
            (expected, agency.wrong_answer(winners.to_string(), symptom))
        }
        Err(received) => (Winners { count: own.len() as u64, documents: None }, received.clone()),
    };
    let expected = format!("agency {}: {expected}", agency.number);
    Some(Violation { expected, received: of_agency(agency.number, received) })
}

/// Returns a violation if the answer to agency 1, the first one, has the winner of its batch with
/// an invalid bet, and is right otherwise.
fn torn_batch(
    agencies: &[TestAgency<'_>],
    answers: &[Result<Winners, Surprise>],
) -> Option<Violation> {
    let (agency, winners) = (agencies.first()?, answers.first()?.as_ref().ok()?);
    let own = bets::winning_documents(agency.number);
    let torn = [&[bets::SPOILED_WINNER.to_string()], &own[..]].concat();
    let expected = Winners::of(own, winners);
    (*winners == Winners::of(torn, winners)).then(|| Violation {
        expected: format!("agency {}: {expected}", agency.number),
        received: of_agency(
            agency.number,
            agency.wrong_answer(winners.to_string(), Symptom::MoreWinners),
        ),
    })
}

/// Returns the first error of the results, which belong to the agencies from number `first` on.
fn first_failure(
    results: impl Iterator<Item = Result<(), Surprise>>,
    first: u16,
) -> Result<(), Surprise> {
    (first..)
        .zip(results)
        .try_for_each(|(number, result)| result.map_err(|received| of_agency(number, received)))
}

fn of_agency(agency: u16, received: Surprise) -> Surprise {
    received.of_part(format_args!("agency {agency}"))
}

fn no_draw() -> Surprise {
    Surprise::new(NO_DRAW, Symptom::NoDraw)
}
