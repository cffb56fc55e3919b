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

/// Returns all goals.
pub(crate) fn all() -> Vec<Goal> {
    let goal = |title: &str, own: &str, base: &str, figure, limit| Goal {
        title: title.to_owned(),
        own: own.to_owned(),
        base: base.to_owned(),
        figure,
        limit,
    };
    let bare4 = "bare/typed/per-batch/4/8kB";
    let bare64 = "bare/typed/per-batch/64/8kB";
    let redis = "redis-xadd/typed/kept/64/8kB";
    let sentinel = "disk/sentinel/kept/64/8kB";
    let mut goals = vec![
        goal(
            "`typed`, process, 4 clients ÷ bare C",
            "process/typed/per-batch/4/8kB",
            bare4,
            Figure::Rate,
            0.75,
        ),
        goal(
            "`typed`, process, 64 clients ÷ bare C",
            "process/typed/per-batch/64/8kB",
            bare64,
            Figure::Rate,
            0.87,
        ),
        goal(
            "`typed`, disk, 4 clients ÷ bare C",
            "disk/typed/per-batch/4/8kB",
            bare4,
            Figure::Rate,
            0.4,
        ),
        goal(
            "`typed`, disk, 64 clients ÷ bare C",
            "disk/typed/per-batch/64/8kB",
            bare64,
            Figure::Rate,
            0.6,
        ),
        goal(
            "`sentinel`, kept, process, 4 clients ÷ bare C",
            "process/sentinel/kept/4/8kB",
            "bare/sentinel/kept/4/8kB",
            Figure::Rate,
            0.5,
        ),
        goal(
            "`sentinel`, kept, disk, 64 clients ÷ Redis `XADD`",
            sentinel,
            redis,
            Figure::Rate,
            0.8,
        ),
        goal("the same", sentinel, redis, Figure::P99, 1.5),
        goal(
            "`typed`, disk, 64 clients ÷ Redis `XADD`, a connection per batch",
            "disk/typed/per-batch/64/8kB",
            "redis-xadd/typed/per-batch/64/8kB",
            Figure::Rate,
            1.2,
        ),
    ];
    for dialect in DIALECTS.iter().filter(|dialect| dialect.agency.is_some()).skip(1) {
        let (title, own) = (
            format!("`{}`, process, 4 clients ÷ bare C", dialect.name),
            format!("process/{}/per-batch/4/8kB", dialect.name),
        );
        goals.push(goal(&title, &own, bare4, Figure::Cpu, 1.8));
    }
    goals
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
