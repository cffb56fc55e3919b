//! The results of a run as they are stored in `results/`, one file per run.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use load::Figures;
use serde::{Deserialize, Serialize};

/// Everything that a run has measured, and where.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Results {
    pub(crate) machine: Machine,
    /// Time of the start, UTC, such as 2026-11-30T18:05:00Z.
    pub(crate) date: String,
    /// Commit of the sources, with `+changes` if they differ from it.
    pub(crate) commit: String,
    pub(crate) command: String,
    /// Seconds per sample.
    pub(crate) seconds: f64,
    /// Rounds in which the rows alternate.
    pub(crate) rounds: usize,
    /// Workers of a pre-forked server.
    pub(crate) workers: usize,
    pub(crate) rows: Vec<RowResults>,
    /// Cost against the number of stored bets; empty if it was not measured.
    pub(crate) stored: Vec<StoredPoint>,
}

/// The machine of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) cpu: String,
    pub(crate) cpus: usize,
    pub(crate) kernel: String,
    /// File system of the storage.
    pub(crate) storage: String,
    /// `private` if each run had a network namespace of its own, else `host`.
    pub(crate) network: String,
    /// Load averages of the machine before the first and after the last sample.
    pub(crate) load_average: [String; 2],
}

/// The samples of one row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct RowResults {
    pub(crate) id: String,
    /// Why there are no samples.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) missing: Option<String>,
    /// One sample per round.
    pub(crate) samples: Vec<Sample>,
}

/// The figures of one run of one server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sample {
    pub(crate) batch_bytes: usize,
    pub(crate) bets_per_batch: usize,
    /// User and system time of all processes of the server.
    pub(crate) server_cpu_us_per_batch: f64,
    /// That of the server of the bets, if the central does not store them itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) engine_cpu_us_per_batch: Option<f64>,
    #[serde(flatten)]
    pub(crate) figures: Figures,
}

/// The cost of storing bets after `bets` bets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct StoredPoint {
    pub(crate) bets: u64,
    pub(crate) bets_per_second: f64,
    pub(crate) server_cpu_us_per_bet: f64,
}

impl Results {
    /// Reads a file of results.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("reading {path:?}"))?;
        serde_json::from_str(&text).with_context(|| format!("{path:?} is not a file of results"))
    }

    /// Writes a file of results.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self)? + "\n";
        fs::write(path, text).with_context(|| format!("writing {path:?}"))
    }

    /// Returns the samples of a row; none if it was not measured.
    pub(crate) fn samples(&self, id: &str) -> &[Sample] {
        self.rows.iter().find(|row| row.id == id).map_or(&[], |row| &row.samples)
    }

    /// Returns the summary of a figure of a row.
    pub(crate) fn summary(&self, id: &str, figure: impl Fn(&Sample) -> f64) -> Summary {
        Summary::of(self.samples(id).iter().map(figure))
    }

    /// Summarizes the ratios within each round, so that a slow phase of the machine affects both
    /// sides of a ratio.
    pub(crate) fn ratio(&self, own: &str, base: &str, figure: fn(&Sample) -> f64) -> Summary {
        let rounds = self.samples(own).iter().zip(self.samples(base));
        Summary::of(rounds.map(|(own, base)| figure(own) / figure(base)))
    }
}

/// Returns the newest file of results. The names begin with the date.
pub(crate) fn newest(directory: &Path) -> Result<PathBuf> {
    let files = fs::read_dir(directory)?.flatten().map(|entry| entry.path());
    let newest = files.filter(|path| path.extension().is_some_and(|it| it == "json")).max();
    newest.with_context(|| format!("there are no results in {directory:?}"))
}

/// Median and extremes of one figure over the rounds; `None` if no round has it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Summary(pub(crate) Option<Spread>);

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) min: f64,
    pub(crate) median: f64,
    pub(crate) max: f64,
}

impl Summary {
    pub(crate) fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        let (Some(&min), Some(&max)) = (values.first(), values.last()) else { return Self(None) };
        let median = f64::midpoint(values[(values.len() - 1) / 2], values[values.len() / 2]);
        Self(Some(Spread { min, median, max }))
    }

    pub(crate) fn median(self) -> Option<f64> {
        self.0.map(|spread| spread.median)
    }

    /// Returns the median and the extremes, such as `1.50 (1.40–1.70)`.
    pub(crate) fn show(self, decimals: usize) -> String {
        match self.0 {
            Some(Spread { min, median, max }) => {
                let [min, median, max] = [min, median, max].map(|value| number(value, decimals));
                format!("{median} ({min}–{max})")
            }
            None => "–".to_owned(),
        }
    }
}

/// Writes a number with commas between thousands.
pub(crate) fn number(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$}");
    let (whole, fraction) = text.split_once('.').map_or((&*text, None), |(a, b)| (a, Some(b)));
    let mut out = String::new();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    fraction.map_or(out.clone(), |fraction| format!("{out}.{fraction}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_odd_number_of_rounds_is_the_middle_one() {
        let spread = Spread { min: 1.0, median: 2.0, max: 9.0 };
        assert_eq!(Summary::of([9.0, 1.0, 2.0].into_iter()), Summary(Some(spread)));
        assert_eq!(Summary::of([1.0, 4.0].into_iter()).median(), Some(2.5));
        assert_eq!(Summary::of(std::iter::empty()).show(1), "–");
    }

    #[test]
    fn numbers_have_commas_between_thousands() {
        let shown = [(0.0, 0), (999.4, 0), (1000.0, 0), (1_234_567.891, 2)];
        let shown = shown.map(|(value, decimals)| number(value, decimals));
        assert_eq!(shown, ["0", "999", "1,000", "1,234,567.89"]);
    }
}
