//! `client generate`: files of invented bets in the shape of the course's data, the same bytes for the same seed on any machine.
//!
//! Each file draws from its own stream of the seed, so the bets of agency 3 do not depend on how many agencies there are.

mod draft;
mod people;

use std::fmt;
use std::path::{Path, PathBuf};
use std::{fs, io};

use clap::Args;
use lottery::WINNING_NUMBER;
use nix::sys::signal::Signal;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::generate::draft::Draft;
use crate::generate::people::Person;
use crate::stop::Stop;

/// Winners of each agency when nobody says how many, as in the course's own files (none to three).
const DEFAULT_WINNERS: u32 = 3;

/// Numbers go from 0 to below this, as in the course's data.
const NUMBERS: u32 = 10_000;

/// What to write.
#[derive(Args, Debug)]
pub(crate) struct Plan {
    /// How many agencies, 1 to 65535; one file each, agency-1.csv and so on
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) agencies: u16,
    /// Bets in each file
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub(crate) bets: u32,
    /// Where chance begins: the same seed gives the same files
    #[arg(long, value_name = "S", default_value_t = 1)]
    pub(crate) seed: u64,
    /// Bets in each file with the number that wins, 7574 [default: 3, or all where there are fewer bets]
    #[arg(long, value_name = "W")]
    pub(crate) winners: Option<u32>,
    /// Directory to write to; made when it is not there, files in it are replaced
    #[arg(long, value_name = "DIR", default_value = ".data")]
    pub(crate) out: PathBuf,
}

/// Why files were not written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GenerateError {
    /// More winners than bets.
    #[error("--winners {winners} is more than --bets {bets}: expected at most as many")]
    TooManyWinners {
        /// Winners asked for.
        winners: u32,
        /// Bets asked for.
        bets: u32,
    },
    /// The system refused to write.
    #[error("cannot write {}: {source}", .path.display())]
    Unwritable {
        /// The file or directory.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A signal came. Files that were whole are there, the one in hand is not.
    #[error("stopped by {0}")]
    Stopped(Signal),
}

/// A file that was written; its text is the line that is printed for it.
#[derive(Debug)]
pub(crate) struct Written {
    path: PathBuf,
    bets: u32,
    winners: u32,
}

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} bets, {} winners", self.path.display(), self.bets, self.winners)
    }
}

impl Plan {
    /// Whether it can be carried out at all.
    ///
    /// # Errors
    /// [`GenerateError::TooManyWinners`].
    pub(crate) fn check(&self) -> Result<(), GenerateError> {
        match self.winners {
            Some(winners) if winners > self.bets => {
                Err(GenerateError::TooManyWinners { winners, bets: self.bets })
            }
            _ => Ok(()),
        }
    }

    /// Writes every file and tells of each when it is whole.
    ///
    /// # Errors
    /// When a file cannot be written, or a signal arrives.
    pub(crate) fn write_files(
        &self,
        stop: &Stop,
        mut tell: impl FnMut(Written),
    ) -> Result<(), GenerateError> {
        let unwritable = |path: &Path| {
            let path = path.to_owned();
            move |source| GenerateError::Unwritable { path, source }
        };
        fs::create_dir_all(&self.out).map_err(unwritable(&self.out))?;
        for agency in 1..=self.agencies {
            let path = self.out.join(format!("agency-{agency}.csv"));
            let mut draft = Draft::create(&path).map_err(unwritable(&path))?;
            let mut deal = Deal::new(self, agency);
            while let Some(row) = deal.next_row() {
                if let Some(signal) = stop.requested() {
                    return Err(GenerateError::Stopped(signal));
                }
                draft.write(&row).map_err(unwritable(&path))?;
            }
            draft.publish().map_err(unwritable(&path))?;
            tell(Written { path, bets: self.bets, winners: self.winners() });
        }
        Ok(())
    }

    fn winners(&self) -> u32 {
        self.winners.unwrap_or(DEFAULT_WINNERS.min(self.bets))
    }
}

/// The bets of one file, dealt one by one.
struct Deal {
    chance: ChaCha8Rng,
    /// Bets still to be dealt.
    bets: u32,
    /// Winners among them.
    winners: u32,
}

/// One bet of a file.
struct Row {
    person: Person,
    number: u32,
}

impl Deal {
    fn new(plan: &Plan, agency: u16) -> Self {
        let mut chance = ChaCha8Rng::seed_from_u64(plan.seed);
        chance.set_stream(agency.into());
        Self { chance, bets: plan.bets, winners: plan.winners() }
    }

    fn next_row(&mut self) -> Option<Row> {
        if self.bets == 0 {
            return None;
        }
        let person = Person::draw(&mut self.chance);
        // Selection sampling: of the bets that are left, each is a winner with the same chance, and the count comes out exact.
        let wins = below(&mut self.chance, self.bets) < self.winners;
        self.bets -= 1;
        self.winners -= u32::from(wins);
        let number = if wins {
            WINNING_NUMBER
        } else {
            // One number fewer to choose from, and those from the winning one on move up: it is never drawn.
            let number = below(&mut self.chance, NUMBERS - 1);
            number + u32::from(number >= WINNING_NUMBER)
        };
        Some(Row { person, number })
    }
}

/// A number from 0 to below `end`. Ours and not a library's: it must not change with the next version.
fn below(chance: &mut ChaCha8Rng, end: u32) -> u32 {
    ((u64::from(chance.next_u32()) * u64::from(end)) >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(bets: u32, winners: u32, seed: u64) -> Plan {
        Plan { agencies: 1, bets, seed, winners: Some(winners), out: PathBuf::new() }
    }

    #[test]
    fn exactly_the_stated_number_of_bets_win_whatever_the_seed() {
        for (bets, winners) in [(0, 0), (1, 0), (1, 1), (50, 50), (1000, 3)] {
            for seed in 0..20 {
                let mut deal = Deal::new(&plan(bets, winners, seed), 1);
                let numbers: Vec<_> =
                    std::iter::from_fn(|| deal.next_row()).map(|row| row.number).collect();
                assert_eq!(numbers.len() as u32, bets);
                assert_eq!(
                    numbers.iter().filter(|number| **number == WINNING_NUMBER).count() as u32,
                    winners
                );
                assert!(numbers.iter().all(|number| *number < NUMBERS));
            }
        }
    }

    #[test]
    fn losing_numbers_reach_both_ends_of_the_range() {
        let mut deal = Deal::new(&plan(200_000, 0, 1), 1);
        let numbers: Vec<_> =
            std::iter::from_fn(|| deal.next_row()).map(|row| row.number).collect();
        assert_eq!((numbers.iter().min(), numbers.iter().max()), (Some(&0), Some(&(NUMBERS - 1))));
    }
}
