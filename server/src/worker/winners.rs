//! The winners of a batch, kept until its reply is encoded. The bytes they were decoded from are
//! overwritten before that.

use lottery::{Bet, Birthdate};

/// Winning bets, in the order of their batch. An empty list owns no memory.
#[derive(Debug, Default)]
pub struct Winners {
    /// First name, last name and document of each winner, one after the other.
    texts: String,
    bets: Vec<Winner>,
}

/// A winning bet. Its fields of text are lengths, in the order of `texts`.
#[derive(Debug)]
struct Winner {
    agency: u16,
    first_name: usize,
    last_name: usize,
    document: usize,
    birthdate: Birthdate,
    number: Option<u32>,
}

/// What the draw needs of a winner.
#[derive(Clone, Copy, Debug)]
pub struct DrawnWinner<'a> {
    /// Its agency.
    pub agency: u16,
    /// Its document.
    pub document: &'a str,
    /// True if the bet has a number.
    pub has_number: bool,
}

impl Winners {
    /// Adds a winner.
    pub fn push(&mut self, bet: &Bet<'_>) {
        let document = bet.document.as_str();
        for text in [bet.first_name, bet.last_name, document] {
            self.texts.push_str(text);
        }
        self.bets.push(Winner {
            agency: bet.agency,
            first_name: bet.first_name.len(),
            last_name: bet.last_name.len(),
            document: document.len(),
            birthdate: bet.birthdate,
            number: bet.number,
        });
    }

    /// Returns the bytes they keep in memory.
    pub fn bytes(&self) -> usize {
        self.texts.capacity() + self.bets.capacity() * size_of::<Winner>()
    }

    /// Returns what the draw needs of each winner.
    pub fn each(&self) -> impl Iterator<Item = DrawnWinner<'_>> {
        let mut texts = self.texts.as_str();
        self.bets.iter().map(move |winner| {
            let (_names, rest) = texts.split_at(winner.first_name + winner.last_name);
            let (document, later) = rest.split_at(winner.document);
            texts = later;
            DrawnWinner { agency: winner.agency, document, has_number: winner.number.is_some() }
        })
    }

    /// Returns the winners as bets.
    pub fn bets(&self) -> Vec<Bet<'_>> {
        let mut texts = self.texts.as_str();
        let mut take = |length: usize| {
            let (text, later) = texts.split_at(length);
            texts = later;
            text
        };
        let bet = |winner: &Winner| Bet {
            agency: winner.agency,
            first_name: take(winner.first_name),
            last_name: take(winner.last_name),
            document: take(winner.document).into(),
            birthdate: winner.birthdate,
            number: winner.number,
        };
        self.bets.iter().map(bet).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn winners_come_back_as_the_bets_they_were() {
        let bet = |first_name, last_name, number| Bet {
            agency: 3,
            first_name,
            last_name,
            document: "30904465".into(),
            birthdate: Birthdate::new(1999, 3, 17).unwrap(),
            number,
        };
        let bets =
            [bet("Ñata", "", Some(7574)), bet("", "O'Higgins", None), bet("a", "b", Some(0))];
        let mut winners = Winners::default();
        bets.iter().for_each(|bet| winners.push(bet));
        assert_eq!(winners.bets(), bets);
    }
}
