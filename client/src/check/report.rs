//! The report: the results so far, the grade, and the choice of a format.

mod json;
mod junit;
mod tap;
mod text;

use clap::ValueEnum;

use super::diagnosis::Diagnosis;
use super::language::Language;
use super::obstacle::Obstacle;
use super::row::Row;
use super::rule::{Group, Planned};
use super::weights::Weights;

/// How the report is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// A table that grows while rules are tried
    #[default]
    Text,
    /// One JSON object at the end
    Json,
    /// JUnit XML at the end, for the test reports of a CI system
    Junit,
    /// Test Anything Protocol, version 14, one line per row at once
    Tap,
}

/// What the report is about and how it is printed.
#[derive(Debug)]
pub(super) struct Settings {
    /// Name of the dialect.
    pub(super) protocol: &'static str,
    /// The server, as it was given.
    pub(super) address: String,
    /// How the report is printed.
    pub(super) format: Format,
    /// True if rules beyond the original systems count like the others.
    pub(super) beyond_counts: bool,
    /// The language of the diagnoses, if there are any.
    pub(super) explain: Option<Language>,
    /// Points of the rules.
    pub(super) weights: Weights,
}

/// A report and its rows so far.
pub(super) struct Report {
    settings: Settings,
    /// All rows of a complete check.
    plan: Vec<Planned>,
    /// Prints to standard output.
    print: fn(&str),
    /// Rows so far.
    rows: Vec<Row>,
    /// Why the check ended early.
    stopped: Option<Obstacle>,
}

/// Points that were reached, of those that can be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Grade {
    reached: u32,
    of: u32,
}

impl Report {
    /// Starts a report of the rows in `plan`.
    pub(super) fn new(settings: Settings, plan: Vec<Planned>, print: fn(&str)) -> Self {
        let report = Self { settings, plan, print, rows: Vec::new(), stopped: None };
        match report.settings.format {
            Format::Text => print(&text::heading(&report)),
            Format::Tap => print(&tap::heading(&report)),
            Format::Json | Format::Junit => {}
        }
        report
    }

    /// Adds a row. Text and TAP show it immediately, because a check of a silent server takes long.
    pub(super) fn add(&mut self, row: Row) {
        debug_assert!(self.plan.contains(&row.planned), "{row:?} is not planned");
        self.rows.push(row);
        match self.settings.format {
            Format::Text => (self.print)(&text::row(self, self.rows.len() - 1)),
            Format::Tap => (self.print)(&tap::row(self, self.rows.len() - 1)),
            Format::Json | Format::Junit => {}
        }
    }

    /// Returns the last rule that was tried, with its method, for a message.
    pub(super) fn last_rule(&self) -> String {
        self.rows.last().map_or("the start".to_owned(), |row| {
            format!("the rule {:?} ({})", row.planned.rule, row.planned.method.name())
        })
    }

    /// Ends the check early.
    pub(super) fn stop(&mut self, obstacle: Obstacle) {
        match self.settings.format {
            Format::Text => (self.print)(&text::obstacle(self, &obstacle)),
            Format::Tap => (self.print)(&tap::obstacle(&obstacle)),
            Format::Json | Format::Junit => {}
        }
        self.stopped = Some(obstacle);
    }

    /// Finishes the report. Returns true if the server passes.
    pub(super) fn finish(self) -> bool {
        (self.print)(&match self.settings.format {
            Format::Text => text::summary(&self),
            Format::Json => json::object(&self),
            Format::Junit => junit::document(&self),
            Format::Tap => tap::summary(&self),
        });
        self.conforms()
    }

    /// Returns true if no rule that counts is broken and all were tried.
    fn conforms(&self) -> bool {
        self.failed() == self.uncounted() && self.stopped.is_none()
    }

    /// Returns the number of broken rows.
    fn failed(&self) -> usize {
        self.rows.iter().filter(|row| row.violation.is_some()).count()
    }

    /// Returns the number of broken rows that do not count.
    fn uncounted(&self) -> usize {
        let is_uncounted = |row: &&Row| row.violation.is_some() && !self.counts(&row.planned);
        self.rows.iter().filter(is_uncounted).count()
    }

    fn counts(&self, planned: &Planned) -> bool {
        self.settings.beyond_counts || !planned.beyond
    }

    /// Returns the points of a rule, 0 if it does not count.
    fn points(&self, planned: &Planned) -> u32 {
        match self.counts(planned) {
            true => self.settings.weights.of(planned, self.settings.protocol),
            false => 0,
        }
    }

    /// Returns the grade of the rows that belong to this group, or of all.
    fn grade(&self, group: Option<Group>) -> Grade {
        let belongs = |planned: &Planned| group.is_none_or(|group| planned.group == group);
        let sum = |planned: &mut dyn Iterator<Item = &Planned>| {
            planned.filter(|planned| belongs(planned)).map(|planned| self.points(planned)).sum()
        };
        let kept = self.rows.iter().filter(|row| row.violation.is_none());
        Grade { reached: sum(&mut kept.map(|row| &row.planned)), of: sum(&mut self.plan.iter()) }
    }

    /// Returns the rows that were not tried.
    fn not_tried(&self) -> Vec<&Planned> {
        let was_tried = |planned: &Planned| self.rows.iter().any(|row| row.planned == *planned);
        self.plan.iter().filter(|planned| !was_tried(planned)).collect()
    }

    /// Returns the rules of which no row was tried, once each.
    fn rules_not_tried(&self) -> Vec<&'static str> {
        let was_tried = |rule: &str| self.rows.iter().any(|row| row.planned.rule == rule);
        let mut rules: Vec<_> = self.plan.iter().map(|planned| planned.rule).collect();
        // Both rows of a rule may be apart from each other, because rules that could end the
        // server come last.
        let mut seen = Vec::new();
        rules.retain(|rule| {
            let is_new = !seen.contains(rule);
            seen.push(*rule);
            is_new && !was_tried(rule)
        });
        rules
    }

    fn id(&self, planned: &Planned) -> String {
        planned.full_id(self.settings.protocol)
    }

    /// Returns the diagnosis of a row, if it is broken and diagnoses are wanted.
    fn diagnosis(&self, index: usize) -> Option<Diagnosis> {
        Diagnosis::of(&self.rows[index], &self.rows[..index], self.settings.explain?)
    }
}

#[cfg(test)]
mod tests;
