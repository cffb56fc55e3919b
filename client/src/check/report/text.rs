//! The report as a table.

use super::super::obstacle::Obstacle;
use super::super::row::Violation;
use super::{Grade, Report};

/// Spaces before the lines that explain a broken row.
const INDENT: &str = "          ";

/// Returns the first lines of the table.
pub(super) fn heading(report: &Report) -> String {
    let settings = &report.settings;
    format!("{} at {}\nresult  tried         rule\n", settings.protocol, settings.address)
}

/// Returns a row of the table, with more lines if the rule is broken.
pub(super) fn row(report: &Report, index: usize) -> String {
    let row = &report.rows[index];
    let planned = &row.planned;
    let result = if row.violation.is_some() { "FAIL" } else { "pass" };
    let mark = if planned.beyond { "[beyond] " } else { "" };
    let mut lines = format!("{result:6}  {:12}  {mark}{}\n", planned.method.name(), planned.rule);
    if let Some(Violation { expected, received }) = &row.violation {
        let points = match report.points(planned) {
            1 => "1 point".to_owned(),
            points => format!("{points} points"),
        };
        lines += &format!("{INDENT}id        {}, {points}\n", report.id(planned));
        lines += &format!("{INDENT}expected  {expected}\n");
        lines += &format!("{INDENT}received  {}\n", received.text);
    }
    for line in report.diagnosis(index).iter().flat_map(|diagnosis| diagnosis.lines()) {
        lines += &format!("{INDENT}{line}\n");
    }
    lines
}

/// Returns the line about the end of a check that ends early.
pub(super) fn obstacle(report: &Report, obstacle: &Obstacle) -> String {
    format!("stopped: {obstacle}; {} rules not tried\n", report.rules_not_tried().len())
}

/// Returns the last line.
pub(super) fn summary(report: &Report) -> String {
    let (failed, uncounted) = (report.failed(), report.uncounted());
    let passed = report.rows.len() - failed;
    let note = match uncounted {
        0 => String::new(),
        _ => format!(" ({uncounted} beyond the original systems, not counted)"),
    };
    let Grade { reached, of } = report.grade(None);
    format!("{passed} passed, {failed} failed{note}, {reached} of {of} points\n")
}
