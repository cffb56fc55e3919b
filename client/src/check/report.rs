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
    /// Test Anything Protocol, version 13, one line per row at once
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
mod tests {
    use super::super::row::{Surprise, Symptom, Violation};
    use super::super::rule::Method;
    use super::*;

    const RULE: Planned = Planned {
        id: "a-rule",
        rule: "a rule",
        group: Group::Replies,
        is_invalid: false,
        method: Method::Whole,
        beyond: false,
    };
    const SPLIT: Planned = Planned { method: Method::Bytewise, group: Group::Framing, ..RULE };

    fn broken(planned: Planned) -> Row {
        let received = Surprise::new("00", Symptom::WrongReply);
        Row::new(planned, Some(Violation { expected: "01".into(), received }))
    }

    fn kept(planned: Planned) -> Row {
        Row::new(planned, None)
    }

    fn report(beyond_counts: bool, rows: Vec<Row>) -> Report {
        let settings = Settings {
            protocol: "counted",
            address: "h:1".to_owned(),
            format: Format::Json,
            beyond_counts,
            explain: None,
            weights: Weights::default(),
        };
        let plan = rows.iter().map(|row| row.planned).collect();
        let mut report = Report::new(settings, plan, |_| ());
        rows.into_iter().for_each(|row| report.add(row));
        report
    }

    #[test]
    fn rows_are_aligned_and_a_failed_one_shows_its_id_and_what_was_expected_and_received() {
        let line = |row| text::row(&report(false, vec![row]), 0);
        assert_eq!(line(kept(RULE)), "pass    whole         a rule\n");
        let draw = Planned::draw("a-rule", "a rule").beyond();
        assert_eq!(line(kept(draw)), "pass    draw          [beyond] a rule\n");
        assert_eq!(
            line(broken(SPLIT)),
            "FAIL    byte by byte  a rule\n          id        counted/a-rule-split, 1 point\n          \
             expected  01\n          received  00\n"
        );
    }

    #[test]
    fn a_server_passes_if_no_counted_rule_fails() {
        let passes = |beyond_counts, rows| report(beyond_counts, rows).conforms();
        let beyond = RULE.beyond();
        assert!(passes(false, vec![kept(RULE), kept(beyond)]));
        assert!(!passes(false, vec![kept(RULE), broken(RULE)]));
        assert!(passes(false, vec![kept(RULE), broken(beyond)]));
        assert!(!passes(true, vec![kept(RULE), broken(beyond)]));
    }

    #[test]
    fn the_grade_is_the_weights_of_the_kept_rows_and_rows_that_do_not_count_have_none() {
        let rows = || vec![kept(RULE), broken(SPLIT), broken(Planned::draw("d", "d").beyond())];
        assert_eq!(report(false, rows()).grade(None), Grade { reached: 3, of: 4 });
        assert_eq!(report(true, rows()).grade(None), Grade { reached: 3, of: 14 });
        assert_eq!(report(true, rows()).grade(Some(Group::Draw)), Grade { reached: 0, of: 10 });
    }

    #[test]
    fn rules_that_were_not_tried_cost_their_points() {
        let mut report = report(false, vec![kept(RULE)]);
        report.plan.extend([SPLIT, Planned::draw("d", "d")]);
        report.stop(Obstacle::DrawHeld);
        assert_eq!(report.grade(None), Grade { reached: 3, of: 14 });
        assert_eq!((report.not_tried().len(), report.rules_not_tried()), (2, vec!["d"]));
        assert!(!report.conforms());
    }
}
