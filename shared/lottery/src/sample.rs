//! Invented bets for measurements: the same in every run and on every machine.

use crate::{Bet, Birthdate, WINNING_NUMBER};

/// Names with lengths as in the course's data, some with two-byte letters.
const FIRST_NAMES: [&str; 8] = [
    "Santiago Lionel",
    "Tiago Nicolás",
    "María José",
    "Joaquín",
    "Milagros de los Ángeles",
    "Ana",
    "Valentina Belén",
    "Juan Ignacio",
];
const LAST_NAMES: [&str; 7] =
    ["Lorca", "Rivera", "Álvarez", "Núñez", "Gutiérrez", "Paz", "Fernández"];

/// Returns the bets, with a number or without one. There are more of them than a packet has room
/// for.
///
/// No bet with a number wins; in the course's data 10 of 78,697 do. Bets without a number win by
/// their hash, about one in seventeen.
pub fn bets(numbered: bool) -> impl Iterator<Item = Bet<'static>> {
    (0..u16::MAX).filter_map(move |index| bet(index, numbered))
}

/// Returns bet number `index`. Every index has a birthdate that exists.
fn bet(index: u16, numbered: bool) -> Option<Bet<'static>> {
    let birthdate =
        Birthdate::new(1950 + index % 55, 1 + (index % 12) as u8, 1 + (index % 28) as u8)?;
    // 9973 numbers; the winning one is replaced.
    let number = u32::from(index).wrapping_mul(7919) % 9973;
    let losing = if number == WINNING_NUMBER { number + 1 } else { number };
    Some(Bet {
        agency: 0,
        first_name: FIRST_NAMES[usize::from(index) % FIRST_NAMES.len()],
        last_name: LAST_NAMES[usize::from(index) % LAST_NAMES.len()],
        document: (20_000_000 + u32::from(index) * 31_337).into(),
        birthdate,
        number: numbered.then_some(losing),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::is_winner;

    #[test]
    fn every_index_has_a_bet_and_only_bets_without_a_number_win() {
        assert_eq!(bets(true).count(), usize::from(u16::MAX));
        assert_eq!(bets(true).filter(is_winner).count(), 0);
        assert!(bets(false).filter(is_winner).count() > 1000);
    }
}
