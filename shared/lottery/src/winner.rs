//! The rule that decides which bets win.

use crate::Bet;

/// The winning number. Source: `has_won` in the course's skeleton, which must not be changed.
pub const WINNING_NUMBER: u32 = 7574;

/// A bet without a number wins if the hash of its text is divisible by this value. Source:
/// `is_winner` of the 2022 assignment, which takes Python's hash modulo 17. That hash differs per
/// process, so any stable hash is compatible with it.
pub const UNNUMBERED_WINNER_DIVISOR: u64 = 17;

/// Returns true if the bet wins.
///
/// A bet with a number, 0 included, wins if that is [`WINNING_NUMBER`]. A bet without a number wins
/// by the 64-bit FNV-1a hash of `first;last;document;YYYY-MM-DD`, which is the same on every
/// machine and easy to compute in any language.
pub fn is_winner(bet: &Bet<'_>) -> bool {
    match bet.number {
        Some(number) => number == WINNING_NUMBER,
        None => fingerprint(bet).is_multiple_of(UNNUMBERED_WINNER_DIVISOR),
    }
}

/// Returns the winner whose row of `bets.csv` reads as this bet, if there can be one. The row of a
/// bet without a number has the number 0, so such a row may be that of a winner without a number.
pub fn possible_winner<'a>(row: &Bet<'a>) -> Option<Bet<'a>> {
    let bet = Bet { number: row.number.filter(|number| *number != 0), ..*row };
    is_winner(&bet).then_some(bet)
}

/// Returns true if the bet without a number wins whose text is `first;last;document;YYYY-MM-DD`.
pub(crate) fn wins_without_number(text: &[u8]) -> bool {
    fnv_1a(text).is_multiple_of(UNNUMBERED_WINNER_DIVISOR)
}

/// Returns the FNV-1a hash of the four fields joined by `;`.
fn fingerprint(bet: &Bet<'_>) -> u64 {
    let birthdate = bet.birthdate.iso_bytes();
    let fields = [
        bet.first_name.as_bytes(),
        b";",
        bet.last_name.as_bytes(),
        b";",
        bet.document.as_str().as_bytes(),
        b";",
        &birthdate,
    ];
    fnv_1a(fields.into_iter().flatten())
}

/// Returns the FNV-1a hash. Constants: Fowler, Noll and Vo, 64-bit variant.
fn fnv_1a<'a>(bytes: impl IntoIterator<Item = &'a u8>) -> u64 {
    const OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let hash = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(PRIME);
    bytes.into_iter().fold(OFFSET_BASIS, hash)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Birthdate;

    fn bet(number: Option<u32>) -> Bet<'static> {
        let birthdate = Birthdate::new(1999, 3, 17).unwrap();
        Bet {
            agency: 1,
            first_name: "Santiago Lionel",
            last_name: "Lorca",
            document: "30904465".into(),
            birthdate,
            number,
        }
    }

    #[test]
    fn a_bet_with_a_number_wins_with_7574_only() {
        assert!(is_winner(&bet(Some(7574))));
        for number in [0, 7573, 7575, u32::MAX] {
            assert!(!is_winner(&bet(Some(number))));
        }
    }

    #[test]
    fn the_hash_is_fnv_1a_of_the_four_fields_joined_by_semicolons() {
        // Computed with an independent implementation in Python.
        assert_eq!(fingerprint(&bet(None)), 0x0520_3c56_607f_251a);
    }
}
