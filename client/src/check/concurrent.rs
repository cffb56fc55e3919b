//! Rules about several connections at the same time, for the dialects without a draw.

use lottery::protocol::{NewAgency, echo};
use lottery::{Bet, Results};

use super::bets;
use super::connection::Pieces;
use super::conversation::common_start;
use super::excerpt::excerpt;
use super::report::Report;
use super::row::{Row, Surprise, Symptom, Violation};
use super::rule::{Group, Method, Planned};
use super::target::{Target, cannot_connect};
use super::test_agency::{TestAgency, Winners, concurrently};

const ANSWERED: Planned = Planned::concurrent(
    "concurrent-batches",
    "batches sent over several connections at the same time are all answered",
);
const TOTAL: Planned = Planned::concurrent(
    "concurrent-total",
    "a later query is answered with a total that includes their winners",
);
const NUMBERED: Planned = Planned {
    id: "numbered-winners",
    rule: "a batch with numbers is answered with the bets on the winning number",
    group: Group::Replies,
    is_invalid: false,
    method: Method::Whole,
    beyond: true,
};
const COUNTED: Planned = Planned::concurrent(
    "counted-before-reply",
    "the first total after a batch includes the winners of its reply",
)
.beyond();
const IN_FLIGHT: Planned = Planned::concurrent(
    "total-in-flight",
    "a query while a batch is arriving is answered with a partial result",
)
.beyond();
const ALL_COUNTED: Planned = Planned::concurrent(
    "concurrent-winners",
    "the winners of numbered batches sent at the same time are all counted",
)
.beyond();
const TORN: Planned =
    Planned::concurrent("torn-batch", "no bet of a batch with an invalid bet is counted").beyond();
const MESSAGES: Planned = Planned::concurrent(
    "concurrent-messages",
    "messages on several connections at the same time are each echoed on their own",
);

/// Returns the rules of [`check_bets`]. Some of them could block a server that serves one
/// connection after the other, so they are tried with `--beyond` only.
pub(super) fn bet_rules(beyond: bool) -> Vec<Planned> {
    let mut rules = vec![ANSWERED, TOTAL, NUMBERED];
    if beyond {
        rules.extend([COUNTED, ALL_COUNTED, IN_FLIGHT, TORN]);
    }
    rules
}

/// Returns the rules of [`check_messages`].
pub(super) fn message_rules() -> Vec<Planned> {
    vec![MESSAGES]
}

/// Checks the bets of agencies 1 to `agencies`, in a dialect that reports winners in each
/// acknowledgement and a total on request.
pub(super) fn check_bets(
    target: &Target,
    new_codec: NewAgency,
    agencies: u16,
    beyond: bool,
    report: &mut Report,
) {
    // Without numbers, because each server has its own rule for whether such a bet wins.
    let unnumbered = |bet: &Bet<'static>| Bet { number: None, ..*bet };
    let reported = store_all(target, new_codec, agencies, unnumbered);
    let least = reported.as_ref().copied().unwrap_or(0);
    let violation = Violation::of("every batch answered with its winners", reported.map(drop));
    report.add(Row::new(ANSWERED, violation));

    let mut agency = TestAgency::new(1, target, new_codec);
    let mut is_total = false;
    let includes = |results: Results| {
        is_total = results.in_flight == 0;
        is_total && results.winners >= least
    };
    let before = agency.results_that(includes, target.timeout).map(|(winners, _)| winners);
    let before = before.map_err(|received| match is_total {
        true => Surprise { symptom: Symptom::FewerWinners, ..received },
        false => received,
    });
    let expected = format!("a total of at least {least} winners");
    report.add(Row::new(TOTAL, Violation::of(expected, before.clone().map(drop))));

    let batch = bets::batches(1).into_iter().next().unwrap_or_default();
    let own = bets::winning_documents(1).into_iter().take(1).collect::<Vec<_>>();
    let expected = Winners { count: 1, documents: Some(own) };
    let result = match agency.store(&batch) {
        Ok(Some(winners)) if winners == expected => Ok(()),
        Ok(winners) => {
            let text = winners.map_or("no winners".to_owned(), |winners| winners.to_string());
            Err(agency.unexpected_receipt(text, Symptom::OtherWinners))
        }
        Err(received) => Err(received),
    };
    let stored = result.is_ok();
    report.add(Row::new(NUMBERED, Violation::of(expected.to_string(), result)));
    if beyond {
        let before = before.unwrap_or(least);
        let counted = before + u64::from(stored);
        let expected = format!("a total of at least {counted} winners");
        let reached = expect_total(&mut agency, target, |total| total >= counted);
        report.add(Row::new(COUNTED, Violation::of(expected, reached)));
        report.add(Row::new(ALL_COUNTED, all_counted(&mut agency, target, new_codec, agencies)));
        report.add(Row::new(IN_FLIGHT, partial_while_arriving(&mut agency, target, new_codec)));
        report.add(Row::new(TORN, torn_batch(&mut agency, target, new_codec)));
    }
}

/// Sends the batches of all agencies at the same time. Returns the number of winners in the
/// replies.
fn store_all(
    target: &Target,
    new_codec: NewAgency,
    agencies: u16,
    change: impl Fn(&Bet<'static>) -> Bet<'static> + Sync,
) -> Result<u64, Surprise> {
    let mut all: Vec<_> =
        (1..=agencies).map(|number| TestAgency::new(number, target, new_codec)).collect();
    let reported = concurrently(&mut all, |agency| {
        let mut winners = 0;
        for batch in bets::batches(agency.number) {
            let batch: Vec<_> = batch.iter().map(&change).collect();
            let stored = agency
                .store(&batch)
                .map_err(|received| received.of_part(format_args!("agency {}", agency.number)))?;
            winners += stored.map_or(0, |winners| winners.count);
        }
        Ok(winners)
    });
    reported.into_iter().sum()
}

/// Returns the first total, and the surprise that it is if its number is wrong.
fn first_total(agency: &mut TestAgency<'_>, target: &Target) -> Result<(u64, Surprise), Surprise> {
    agency.results_that(|results| results.in_flight == 0, target.timeout)
}

/// Fails unless `is_right` accepts the first total.
fn expect_total(
    agency: &mut TestAgency<'_>,
    target: &Target,
    is_right: impl Fn(u64) -> bool,
) -> Result<(), Surprise> {
    match first_total(agency, target)? {
        (total, _) if is_right(total) => Ok(()),
        (_, surprise) => Err(Surprise { symptom: Symptom::FewerWinners, ..surprise }),
    }
}

/// Returns a violation unless the total grows by the winners of batches that were sent at the same
/// time.
fn all_counted(
    agency: &mut TestAgency<'_>,
    target: &Target,
    new_codec: NewAgency,
    agencies: u16,
) -> Option<Violation> {
    let sent = first_total(agency, target)
        .and_then(|(before, _)| Ok(before + store_all(target, new_codec, agencies, |bet| *bet)?));
    match sent {
        Ok(least) => Violation::of(
            format!("a total of at least {least} winners"),
            expect_total(agency, target, |total| total >= least),
        ),
        Err(received) => Violation::of("every batch answered with its winners", Err(received)),
    }
}

/// Returns a violation if a query while a batch is arriving is answered with a total.
fn partial_while_arriving(
    agency: &mut TestAgency<'_>,
    target: &Target,
    new_codec: NewAgency,
) -> Option<Violation> {
    let mut sender = TestAgency::new(2, target, new_codec);
    let result = sender.begin(&bets::losing()).and_then(|rest| {
        // The server may not have read the first bytes yet, so a total is wrong only in the end.
        let partial = agency.results_that(|results| results.in_flight > 0, target.silence());
        sender.complete(&rest)?;
        partial.map(drop).map_err(|received| Surprise { symptom: Symptom::Early, ..received })
    });
    Violation::of("a partial result", result)
}

/// Returns a violation if a batch with an invalid bet changes the total.
fn torn_batch(
    agency: &mut TestAgency<'_>,
    target: &Target,
    new_codec: NewAgency,
) -> Option<Violation> {
    let (date, impossible) = (bets::SPOILED_DATE, bets::IMPOSSIBLE_DATE);
    let before = match first_total(agency, target) {
        Ok((before, _)) => before,
        Err(received) => return Violation::of("a total", Err(received)),
    };
    let mut sender = TestAgency::new(2, target, new_codec);
    sender.store_spoiled(&bets::spoiled(2), date.as_bytes(), impossible.as_bytes());
    let unchanged = expect_total(agency, target, |total| total == before);
    let result = unchanged.map_err(|received| match received.symptom {
        Symptom::FewerWinners => Surprise { symptom: Symptom::MoreWinners, ..received },
        _ => received,
    });
    Violation::of(format!("a total of {before} winners, as before"), result)
}

/// Checks one message on each of `agencies` connections, in the echo dialect.
pub(super) fn check_messages(target: &Target, agencies: u16, report: &mut Report) {
    let mut connections: Vec<_> = (1..=agencies).map(|number| (number, target.connect())).collect();
    for (number, connection) in &mut connections {
        if let Ok(connection) = connection {
            connection.send(&echo::message(*number, 1), Pieces::Whole, target.timeout);
        }
    }
    let violation = connections.into_iter().find_map(|(number, connection)| {
        let message = echo::message(number, 1);
        let is_complete = |received: &[u8]| (received.len() >= message.len()).then_some(());
        let result = match connection {
            Ok(mut connection) => match connection.receive(target.timeout, is_complete) {
                Ok(()) => match connection.take_all() {
                    received if received == message => Ok(()),
                    received => {
                        let wrong_at = common_start(&message, &received);
                        Err(connection.surprise(excerpt(&received), Symptom::WrongReply, wrong_at))
                    }
                },
                Err(received) => Err(received),
            },
            Err(error) => Err(Surprise::new(cannot_connect(&error), Symptom::Unreachable)),
        };
        Violation::of(excerpt(&message), result)
    });
    report.add(Row::new(MESSAGES, violation));
}
