//! Several connections at the same time, in the dialects that have no draw.

use lottery::Bet;
use lottery::protocol::{NewAgency, echo};

use super::agency::{Agency, Winners, at_once};
use super::bets;
use super::door::{Door, no_connection};
use super::report::Report;
use super::row::{Broken, How, Row};
use super::shown::shown;
use super::wire::Pieces;

/// Tries what must hold for the bets of agencies 1 to `agencies`, in a dialect that tells winners at once and a total of all.
pub(super) fn bets(door: &Door, begin: NewAgency, agencies: u16, report: &mut Report) {
    let mut all: Vec<_> = (1..=agencies).map(|number| Agency::new(number, door, begin)).collect();
    let told = at_once(&mut all, |agency| {
        let mut told = 0;
        for batch in bets::batches(agency.number) {
            // Without a number: whether such a bet wins is for each server to say.
            let unnumbered: Vec<_> = batch.iter().map(|bet| Bet { number: None, ..*bet }).collect();
            let stored = agency
                .store(&unnumbered)
                .map_err(|came| format!("agency {}: {came}", agency.number))?;
            told += stored.map_or(0, |winners| winners.count);
        }
        Ok(told)
    });
    let least: u64 = told.iter().flatten().sum();
    let unanswered = told.into_iter().find_map(Result::err).map_or(Ok(()), Err);
    report.add(Row::new(
        "batches over several connections at the same time are all answered",
        How::AtOnce,
        Broken::unless("every batch answered with its winners", unanswered),
    ));

    let mut asking = Agency::new(1, door, begin);
    report.add(Row::new(
        "a query after them is answered with a total that has their winners",
        How::AtOnce,
        Broken::unless(format!("a total of at least {least} winners"), asking.total(least)),
    ));

    let batch = bets::batches(1).into_iter().next().unwrap_or_default();
    let own = bets::winning_documents(1).into_iter().take(1).collect::<Vec<_>>();
    let expected = Winners { count: 1, documents: Some(own) };
    let kept = match asking.store(&batch) {
        Ok(Some(winners)) if winners == expected => Ok(()),
        Ok(winners) => Err(winners.map_or("no winners".to_owned(), |winners| winners.to_string())),
        Err(came) => Err(came),
    };
    let rule = "bets with a number are answered with those that play the winning one";
    report.add(Row::new(rule, How::Whole, Broken::unless(expected.to_string(), kept)).beyond());
}

/// Tries what must hold for as many messages, in a dialect that sends them back.
pub(super) fn messages(door: &Door, agencies: u16, report: &mut Report) {
    let mut wires: Vec<_> = (1..=agencies).map(|number| (number, door.connect())).collect();
    for (number, wire) in &mut wires {
        if let Ok(wire) = wire {
            wire.say(&echo::message(*number, 1), Pieces::Whole, door.patience);
        }
    }
    let broken = wires.into_iter().find_map(|(number, wire)| {
        let message = echo::message(number, 1);
        let came = match wire {
            Ok(mut wire) => {
                match wire.hear(door.patience, |heard| (heard.len() >= message.len()).then_some(()))
                {
                    Ok(()) => shown(&wire.take_all()),
                    Err(came) => came,
                }
            }
            Err(error) => no_connection(&error),
        };
        let expected = shown(&message);
        (came != expected).then_some(Broken { expected, came })
    });
    let rule = "messages over several connections at the same time come back each on its own";
    report.add(Row::new(rule, How::AtOnce, broken));
}
