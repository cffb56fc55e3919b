//! The bets that the check sends, with known winners.

use lottery::{Bet, Birthdate, WINNING_NUMBER};

/// Number of batches per agency.
pub(super) const BATCHES: usize = 2;
/// Number of bets per batch.
const BATCH: usize = 3;
/// A number that does not win.
const LOSING_NUMBER: u32 = 1033;

/// First name, last name and birthdate of the bets of an agency. Some letters have more than one
/// byte.
const PEOPLE: [(&str, &str, &str); BATCHES * BATCH] = [
    ("Santiago Lionel", "Lorca", "1999-03-17"),
    ("Tiago Nicolás", "Rivera", "2001-08-29"),
    ("Íñigo", "Álvarez", "1986-04-25"),
    ("María José", "Núñez", "2000-02-29"),
    ("Ana", "Paz", "1970-12-31"),
    ("João", "Müller", "1995-01-01"),
];

/// Number of winners of agencies 1 to 5, repeated for higher numbers. Neighbours differ, and one
/// agency has none.
const WINNERS: [usize; 5] = [2, 0, 3, 1, 4];
/// Positions of the winning bets; an agency with N winners uses the first N. With two or more
/// winners, both batches have one.
const WINNING_POSITIONS: [usize; 4] = [1, 4, 2, 5];

/// Document of the winner of the batch with an invalid bet.
pub(super) const SPOILED_WINNER: u32 = 39_000_000;
/// Birthdate that the batch with an invalid bet has before it is spoiled.
pub(super) const SPOILED_DATE: &str = "1971-11-30";
/// What is sent instead.
pub(super) const IMPOSSIBLE_DATE: &str = "1971-13-30";

/// Returns the batches of an agency, in the order of sending. Every document is unique.
pub(super) fn batches(agency: u16) -> Vec<Vec<Bet<'static>>> {
    let bets: Vec<_> = PEOPLE
        .iter()
        .enumerate()
        .filter_map(|(position, person)| bet(agency, position, person))
        .collect();
    bets.chunks(BATCH).map(<[_]>::to_vec).collect()
}

/// Returns bets that do not win, for an attempt that a server may store.
pub(super) fn losing() -> Vec<Bet<'static>> {
    let mut bets = batches(1).concat();
    bets.retain(|bet| bet.number == Some(LOSING_NUMBER));
    bets
}

/// Returns a batch of which the first bet wins. The last one has the birthdate [`SPOILED_DATE`], in
/// place of which [`IMPOSSIBLE_DATE`] is sent.
pub(super) fn spoiled(agency: u16) -> Vec<Bet<'static>> {
    let mut bets = batches(agency).concat();
    bets.truncate(2);
    for (bet, (document, number, date)) in bets.iter_mut().zip([
        (SPOILED_WINNER, WINNING_NUMBER, "2001-08-29"),
        (SPOILED_WINNER + 1, LOSING_NUMBER, SPOILED_DATE),
    ]) {
        (bet.document, bet.number) = (document.into(), Some(number));
        bet.birthdate = Birthdate::from_iso(date).unwrap_or(bet.birthdate);
    }
    bets
}

/// Returns the documents of an agency's winners, in the order of sending.
pub(super) fn winning_documents(agency: u16) -> Vec<String> {
    let bets = batches(agency).concat();
    let winners = bets.iter().filter(|bet| bet.number == Some(WINNING_NUMBER));
    winners.map(|bet| bet.document.to_string()).collect()
}

fn bet(
    agency: u16,
    position: usize,
    &(first_name, last_name, born): &(&'static str, &'static str, &str),
) -> Option<Bet<'static>> {
    let birthdate = Birthdate::from_iso(born)?;
    let winners = WINNERS[usize::from(agency.saturating_sub(1)) % WINNERS.len()];
    let wins = WINNING_POSITIONS.iter().take(winners).any(|winning| *winning == position);
    let number = Some(if wins { WINNING_NUMBER } else { LOSING_NUMBER });
    let document = (30_000_000 + 1000 * u32::from(agency) + position as u32).into();
    Some(Bet { agency, first_name, last_name, document, birthdate, number })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_person_has_a_bet() {
        assert_eq!(batches(1).iter().map(Vec::len).collect::<Vec<_>>(), [BATCH; BATCHES]);
    }

    #[test]
    fn the_winners_follow_the_table_in_the_order_of_the_bets() {
        let winners = |agency| winning_documents(agency).len();
        assert_eq!((1..=6).map(winners).collect::<Vec<_>>(), [2, 0, 3, 1, 4, 2]);
        assert_eq!(winning_documents(1), ["30001001", "30001004"]);
        assert_eq!(winning_documents(3), ["30003001", "30003002", "30003004"]);
    }

    #[test]
    fn all_documents_are_unique() {
        let mut documents: Vec<_> = (1..=255)
            .flat_map(|agency| batches(agency).concat())
            .map(|bet| bet.document.to_string())
            .collect();
        let all = documents.len();
        documents.sort();
        documents.dedup();
        assert_eq!(documents.len(), all);
    }
}
