//! `loteria-agency generate`: files of random bets in the shape of the course's data, with the same
//! bytes for the same seed on every machine.
//!
//! Each file uses its own stream of the seed, so the bets of agency 3 do not depend on the number
//! of agencies.

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

/// Default number of winners per agency; the course's own files have none to three.
const DEFAULT_WINNERS: u32 = 3;

/// Exclusive upper bound of the numbers, as in the course's data.
const NUMBERS: u32 = 10_000;

/// Arguments of `loteria-agency generate`.
#[derive(Args, Debug)]
pub(crate) struct Plan {
    /// Number of agencies, 1 to 65535; each gets one file, agency-1.csv and so on
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) agencies: u16,
    /// Bets per file
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub(crate) bets: u32,
    /// Seed of the random numbers: the same seed gives the same files
    #[arg(long, value_name = "S", default_value_t = 1)]
    pub(crate) seed: u64,
    /// Bets per file with the winning number, 7574 [default: 3, or all bets if there are fewer]
    #[arg(long, value_name = "W")]
    pub(crate) winners: Option<u32>,
    /// Output directory; created if missing, existing files in it are replaced
    #[arg(long, value_name = "DIR", default_value = ".data")]
    pub(crate) out: PathBuf,
}

/// Why files were not written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GenerateError {
    /// There are more winners than bets.
    #[error("--winners {winners} exceeds --bets {bets}")]
    TooManyWinners {
        /// Value of `--winners`.
        winners: u32,
        /// Value of `--bets`.
        bets: u32,
    },
    /// A file or directory cannot be written.
    #[error("cannot write {}: {source}", .path.display())]
    Unwritable {
        /// The file or directory.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A signal arrived. Complete files remain, the unfinished one is removed.
    #[error("stopped by {0}")]
    Stopped(Signal),
}

/// A file that was written. Its `Display` text is the line that is printed for it.
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
    /// Checks that there are not more winners than bets.
    pub(crate) fn check(&self) -> Result<(), GenerateError> {
        match self.winners {
            Some(winners) if winners > self.bets => {
                Err(GenerateError::TooManyWinners { winners, bets: self.bets })
            }
            _ => Ok(()),
        }
    }

    /// Writes all files and calls `written` after each complete one.
    pub(crate) fn write_files(
        &self,
        stop: &Stop,
        mut written: impl FnMut(Written),
    ) -> Result<(), GenerateError> {
        let unwritable = |path: &Path| {
            let path = path.to_owned();
            move |source| GenerateError::Unwritable { path, source }
        };
        fs::create_dir_all(&self.out).map_err(unwritable(&self.out))?;
        for agency in 1..=self.agencies {
            let path = self.out.join(format!("agency-{agency}.csv"));
            let mut draft = Draft::create(&path).map_err(unwritable(&path))?;
            let mut generator = BetGenerator::new(self, agency);
            while let Some(row) = generator.next_row() {
                if let Some(signal) = stop.requested() {
                    return Err(GenerateError::Stopped(signal));
                }
                draft.write(&row).map_err(unwritable(&path))?;
            }
            draft.publish().map_err(unwritable(&path))?;
            written(Written { path, bets: self.bets, winners: self.winners() });
        }
        Ok(())
    }

    fn winners(&self) -> u32 {
        self.winners.unwrap_or(DEFAULT_WINNERS.min(self.bets))
    }
}

/// Generates the bets of one file.
struct BetGenerator {
    rng: ChaCha8Rng,
    /// Bets that remain to be generated.
    bets: u32,
    /// Winners among them.
    winners: u32,
}

/// One bet of a file.
struct Row {
    person: Person,
    number: u32,
}

impl BetGenerator {
    fn new(plan: &Plan, agency: u16) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(plan.seed);
        rng.set_stream(agency.into());
        Self { rng, bets: plan.bets, winners: plan.winners() }
    }

    fn next_row(&mut self) -> Option<Row> {
        if self.bets == 0 {
            return None;
        }
        let person = Person::random(&mut self.rng);
        // Selection sampling: each remaining bet wins with the same probability, and the number of
        // winners is exact.
        let wins = below(&mut self.rng, self.bets) < self.winners;
        self.bets -= 1;
        self.winners -= u32::from(wins);
        let number = if wins {
            WINNING_NUMBER
        } else {
            // Choose from one number fewer, and add one to every number from the winning one
            // upwards, so that the winning number cannot result.
            let number = below(&mut self.rng, NUMBERS - 1);
            number + u32::from(number >= WINNING_NUMBER)
        };
        Some(Row { person, number })
    }
}

/// Returns a random number from 0 to below `end`. It does not use a library, because the result
/// must not change with a new version.
fn below(rng: &mut ChaCha8Rng, end: u32) -> u32 {
    ((u64::from(rng.next_u32()) * u64::from(end)) >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(bets: u32, winners: u32, seed: u64) -> Plan {
        Plan { agencies: 1, bets, seed, winners: Some(winners), out: PathBuf::new() }
    }

    #[test]
    fn exactly_the_given_number_of_bets_win_for_every_seed() {
        for (bets, winners) in [(0, 0), (1, 0), (1, 1), (50, 50), (1000, 3)] {
            for seed in 0..20 {
                let mut generator = BetGenerator::new(&plan(bets, winners, seed), 1);
                let numbers: Vec<_> =
                    std::iter::from_fn(|| generator.next_row()).map(|row| row.number).collect();
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
    fn losing_numbers_cover_the_whole_range() {
        let mut generator = BetGenerator::new(&plan(200_000, 0, 1), 1);
        let numbers: Vec<_> =
            std::iter::from_fn(|| generator.next_row()).map(|row| row.number).collect();
        assert_eq!((numbers.iter().min(), numbers.iter().max()), (Some(&0), Some(&(NUMBERS - 1))));
    }
}
