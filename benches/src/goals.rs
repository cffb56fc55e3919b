//! The goals: ratios of two rows, and what they should be.

use lottery::protocol::DIALECTS;

use crate::results::{Results, Sample, Summary};

/// A goal for the ratio of a figure of two rows.
#[derive(Debug)]
pub(crate) struct Goal {
    pub(crate) title: String,
    pub(crate) own: String,
    pub(crate) base: String,
    pub(crate) figure: Figure,
    /// A rate should be at least this, anything else at most.
    pub(crate) limit: f64,
}

/// The figure that is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Figure {
    /// Batches per second.
    Rate,
    /// CPU time of the server per batch.
    Cpu,
    /// 99th percentile of the latency.
    P99,
}

impl Figure {
    fn of(self) -> fn(&Sample) -> f64 {
        match self {
            Self::Rate => |sample| sample.figures.batches_per_second,
            Self::Cpu => |sample| sample.server_cpu_us_per_batch,
            Self::P99 => |sample| sample.figures.latency_us.p99,
        }
    }

    /// Returns the name in tables.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Rate => "batches/s",
            Self::Cpu => "server CPU",
            Self::P99 => "p99",
        }
    }
}

impl Goal {
    /// Returns the ratio in the results.
    pub(crate) fn ratio(&self, results: &Results) -> Summary {
        results.ratio(&self.own, &self.base, self.figure.of())
    }

    /// Returns the goal in words.
    pub(crate) fn wanted(&self) -> String {
        let sign = if self.figure == Figure::Rate { "≥" } else { "≤" };
        format!("{sign} {}", self.limit)
    }

    /// Returns true if the median reaches the goal.
    pub(crate) fn is_reached(&self, results: &Results) -> Option<bool> {
        let median = self.ratio(results).median()?;
        let is_rate = self.figure == Figure::Rate;
        Some(if is_rate { median >= self.limit } else { median <= self.limit })
    }
}

/// A goal before the names are owned: title, own row, row to compare with, figure, limit.
type Line = (&'static str, &'static str, &'static str, Figure, f64);

/// The goals that name their rows.
const LINES: [Line; 8] = [
    (
        "`typed`, process, 4 clients ÷ bare C",
        "process/typed/per-batch/4/8kB",
        BARE,
        Figure::Rate,
        0.75,
    ),
    (
        "`typed`, process, 64 clients ÷ bare C",
        "process/typed/per-batch/64/8kB",
        "bare/typed/per-batch/64/8kB",
        Figure::Rate,
        0.87,
    ),
    ("`typed`, disk, 4 clients ÷ bare C", "disk/typed/per-batch/4/8kB", BARE, Figure::Rate, 0.4),
    (
        "`typed`, disk, 64 clients ÷ bare C",
        "disk/typed/per-batch/64/8kB",
        "bare/typed/per-batch/64/8kB",
        Figure::Rate,
        0.6,
    ),
    (
        "`sentinel`, kept, process, 4 clients ÷ bare C",
        "process/sentinel/kept/4/8kB",
        "bare/sentinel/kept/4/8kB",
        Figure::Rate,
        0.5,
    ),
    (
        "`sentinel`, kept, disk, 64 clients ÷ Redis `XADD`",
        "disk/sentinel/kept/64/8kB",
        REDIS,
        Figure::Rate,
        0.8,
    ),
    ("the same", "disk/sentinel/kept/64/8kB", REDIS, Figure::P99, 1.5),
    (
        "`typed`, disk, 64 clients ÷ Redis `XADD`, a connection per batch",
        "disk/typed/per-batch/64/8kB",
        "redis-xadd/typed/per-batch/64/8kB",
        Figure::Rate,
        1.2,
    ),
];

const BARE: &str = "bare/typed/per-batch/4/8kB";
const REDIS: &str = "redis-xadd/typed/kept/64/8kB";

/// Limit of the CPU time per batch of every other dialect, in that of bare C.
const OTHER_DIALECTS: f64 = 1.8;

/// Returns all goals.
pub(crate) fn all() -> Vec<Goal> {
    let line = |&(title, own, base, figure, limit): &Line| Goal {
        title: title.to_owned(),
        own: own.to_owned(),
        base: base.to_owned(),
        figure,
        limit,
    };
    let dialects = DIALECTS.iter().filter(|dialect| dialect.agency.is_some()).skip(1);
    let other = dialects.map(|dialect| Goal {
        title: format!("`{}`, process, 4 clients ÷ bare C", dialect.name),
        own: format!("process/{}/per-batch/4/8kB", dialect.name),
        base: BARE.to_owned(),
        figure: Figure::Cpu,
        limit: OTHER_DIALECTS,
    });
    LINES.iter().map(line).chain(other).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::{self, Row, Set};

    #[test]
    fn every_row_of_a_goal_is_in_the_set_of_the_goals() {
        let rows: Vec<_> = rows::all()
            .iter()
            .filter(|row| row.set <= Set::Goals && !row.once)
            .map(Row::id)
            .collect();
        for goal in all() {
            assert!(rows.contains(&goal.own) && rows.contains(&goal.base), "{goal:?}");
        }
    }
}
