//! The report in the Test Anything Protocol, version 13. A broken rule that does not count is a
//! test with the directive TODO, which TAP does not count either.

use super::super::obstacle::Obstacle;
use super::{Grade, Report};

/// Returns the first lines.
pub(super) fn heading(report: &Report) -> String {
    let settings = &report.settings;
    format!(
        "TAP version 13\n1..{}\n# {} at {}\n",
        report.plan.len(),
        settings.protocol,
        one_line(&settings.address)
    )
}

/// Returns the lines of a row.
pub(super) fn row(report: &Report, index: usize) -> String {
    let row = &report.rows[index];
    let planned = &row.planned;
    let result = if row.violation.is_some() { "not ok" } else { "ok" };
    let directive = match report.counts(planned) {
        true => "",
        false => " # TODO beyond the original systems",
    };
    let (number, id, rule) = (index + 1, report.id(planned), escaped(planned.rule));
    let mut lines = format!("{result} {number} - {id}: {rule}{directive}\n");
    if let Some(violation) = &row.violation {
        // A JSON text is also a YAML text.
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        let mut block = vec![
            format!("expected: {}", quoted(&violation.expected)),
            format!("received: {}", quoted(&violation.received.text)),
            format!("points: {}", report.points(planned)),
        ];
        if let Some(diagnosis) = report.diagnosis(index) {
            block.push(format!("cause: {}", diagnosis.cause.name()));
            block.push("diagnosis: |".to_owned());
            block.extend(diagnosis.lines().iter().map(|line| format!("  {line}")));
        }
        lines += "  ---\n";
        block.iter().for_each(|line| lines += &format!("  {line}\n"));
        lines += "  ...\n";
    }
    lines
}

/// Returns the line that ends a check early.
pub(super) fn obstacle(obstacle: &Obstacle) -> String {
    format!("Bail out! {}\n", one_line(&obstacle.to_string()))
}

/// Returns the last line.
pub(super) fn summary(report: &Report) -> String {
    let Grade { reached, of } = report.grade(None);
    format!("# {reached} of {of} points\n")
}

/// Returns a description in which nothing is a directive.
fn escaped(text: &str) -> String {
    one_line(text).replace('\\', "\\\\").replace('#', "\\#")
}

fn one_line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}
