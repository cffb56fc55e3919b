//! Rules about several connections at the same time, for the dialects without a draw.

use lottery::Bet;
use lottery::protocol::{NewAgency, echo};

use super::bets;
use super::connection::Pieces;
use super::excerpt::excerpt;
use super::report::Report;
use super::row::{Method, Row, Violation};
use super::target::{Target, cannot_connect};
use super::test_agency::{TestAgency, Winners, concurrently};

/// Rules of [`check_bets`].
pub(super) const BET_RULES: [&str; 3] = [
    "batches sent over several connections at the same time are all answered",
    "a later query is answered with a total that includes their winners",
    "a batch with numbers is answered with the bets on the winning number",
];

/// Rule of [`check_messages`].
pub(super) const MESSAGE_RULE: &str =
    "messages on several connections at the same time are each echoed on their own";

/// Checks the bets of agencies 1 to `agencies`, in a dialect that reports winners in each
/// acknowledgement and a total on request.
pub(super) fn check_bets(
    target: &Target,
    new_codec: NewAgency,
    agencies: u16,
    report: &mut Report,
) {
    let mut all: Vec<_> =
        (1..=agencies).map(|number| TestAgency::new(number, target, new_codec)).collect();
    let reported = concurrently(&mut all, |agency| {
        let mut winners = 0;
        for batch in bets::batches(agency.number) {
            // Without numbers, because each server has its own rule for whether such a bet wins.
            let unnumbered: Vec<_> = batch.iter().map(|bet| Bet { number: None, ..*bet }).collect();
            let stored = agency
                .store(&unnumbered)
                .map_err(|received| format!("agency {}: {received}", agency.number))?;
            winners += stored.map_or(0, |winners| winners.count);
        }
        Ok(winners)
    });
    let least: u64 = reported.iter().flatten().sum();
    let unanswered = reported.into_iter().find_map(Result::err).map_or(Ok(()), Err);
    report.add(Row::new(
        BET_RULES[0],
        Method::Concurrent,
        Violation::of("every batch answered with its winners", unanswered),
    ));

    let mut agency = TestAgency::new(1, target, new_codec);
    report.add(Row::new(
        BET_RULES[1],
        Method::Concurrent,
        Violation::of(format!("a total of at least {least} winners"), agency.total(least)),
    ));

    let batch = bets::batches(1).into_iter().next().unwrap_or_default();
    let own = bets::winning_documents(1).into_iter().take(1).collect::<Vec<_>>();
    let expected = Winners { count: 1, documents: Some(own) };
    let result = match agency.store(&batch) {
        Ok(Some(winners)) if winners == expected => Ok(()),
        Ok(winners) => Err(winners.map_or("no winners".to_owned(), |winners| winners.to_string())),
        Err(received) => Err(received),
    };
    let violation = Violation::of(expected.to_string(), result);
    report.add(Row::new(BET_RULES[2], Method::Whole, violation).beyond());
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
        let received = match connection {
            Ok(mut connection) => match connection.receive(target.timeout, is_complete) {
                Ok(()) => excerpt(&connection.take_all()),
                Err(received) => received,
            },
            Err(error) => cannot_connect(&error),
        };
        let expected = excerpt(&message);
        (received != expected).then_some(Violation { expected, received })
    });
    report.add(Row::new(MESSAGE_RULE, Method::Concurrent, violation));
}
