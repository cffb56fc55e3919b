//! The report: a table that grows while rules are tried, or one JSON object at the end.

use serde_json::{Value, json};

use super::obstacle::Obstacle;
use super::row::{Row, Violation};

/// Heading of the table.
const HEADING: &str = "result  tried         rule\n";

/// A report and its rows so far.
pub(super) struct Report {
    /// Name of the dialect.
    protocol: &'static str,
    /// The server, as it was given.
    address: String,
    /// True for a JSON object, false for a table.
    json: bool,
    /// True if rules beyond the original systems count like the others.
    beyond_counts: bool,
    /// Prints to standard output.
    print: fn(&str),
    /// Rows so far.
    rows: Vec<Row>,
    /// Why the check ended early, and the rules that were not tried.
    stopped: Option<(Obstacle, Vec<&'static str>)>,
}

impl Report {
    /// Starts a report.
    pub(super) fn new(
        protocol: &'static str,
        address: &str,
        json: bool,
        beyond_counts: bool,
        print: fn(&str),
    ) -> Self {
        if !json {
            print(&format!("{protocol} at {address}\n{HEADING}"));
        }
        let (address, rows) = (address.to_owned(), Vec::new());
        Self { protocol, address, json, beyond_counts, print, rows, stopped: None }
    }

    /// Adds a row. The table shows it immediately, because a check of a silent server takes long.
    pub(super) fn add(&mut self, row: Row) {
        if !self.json {
            (self.print)(&line(&row));
        }
        self.rows.push(row);
    }

    /// Returns the last rule that was tried, with its method, for a message.
    pub(super) fn last_rule(&self) -> String {
        self.rows.last().map_or("the start".to_owned(), |row| {
            format!("the rule {:?} ({})", row.rule, row.method.name())
        })
    }

    /// Ends the check early. `rules` are all rules of the check in their order.
    pub(super) fn stop(&mut self, obstacle: Obstacle, rules: &[&'static str]) {
        let was_tried = |rule: &str| self.rows.iter().any(|row| row.rule == rule);
        let rest: Vec<_> = rules.iter().copied().filter(|rule| !was_tried(rule)).collect();
        if !self.json {
            (self.print)(&format!("stopped: {obstacle}; {} rules not tried\n", rest.len()));
        }
        self.stopped = Some((obstacle, rest));
    }

    /// Finishes the report. Returns true if the server passes.
    pub(super) fn finish(self) -> bool {
        let failed = self.rows.iter().filter(|row| row.violation.is_some()).count();
        let passed = self.rows.len() - failed;
        let uncounted = self
            .rows
            .iter()
            .filter(|row| row.violation.is_some() && row.beyond && !self.beyond_counts)
            .count();
        let conforms = failed == uncounted && self.stopped.is_none();
        if self.json {
            let object = json!({
                "protocol": self.protocol,
                "address": self.address,
                "passed": passed,
                "failed": failed,
                "conforms": conforms,
                "stopped": self.stopped.as_ref().map(|(obstacle, rest)| json!({
                    "why": obstacle.kind(),
                    "message": obstacle.to_string(),
                    "not_tried": rest,
                })),
                "rules": self.rows.iter().map(object).collect::<Vec<_>>(),
            });
            (self.print)(&format!("{object:#}\n"));
        } else {
            let note = match uncounted {
                0 => String::new(),
                _ => format!(" ({uncounted} beyond the original systems, not counted)"),
            };
            (self.print)(&format!("{passed} passed, {failed} failed{note}\n"));
        }
        conforms
    }
}

/// Returns a row of the table, with two more lines if the rule is broken.
fn line(row: &Row) -> String {
    let result = if row.violation.is_some() { "FAIL" } else { "pass" };
    let mark = if row.beyond { "[beyond] " } else { "" };
    let mut line = format!("{result:6}  {:12}  {mark}{}\n", row.method.name(), row.rule);
    if let Some(Violation { expected, received }) = &row.violation {
        line += &format!("          expected  {expected}\n          received  {received}\n");
    }
    line
}

/// Returns a row of the JSON object. The keys are stable, because scripts read them.
fn object(row: &Row) -> Value {
    let violation = row.violation.as_ref();
    json!({
        "rule": row.rule,
        "how": row.method.name(),
        "beyond": row.beyond,
        "passed": violation.is_none(),
        "expected": violation.map(|violation| &violation.expected),
        "came": violation.map(|violation| &violation.received),
    })
}

#[cfg(test)]
mod tests {
    use super::super::row::Method;
    use super::*;

    fn violation() -> Option<Violation> {
        Some(Violation { expected: "01".into(), received: "00".into() })
    }

    fn passes(beyond_counts: bool, rows: impl IntoIterator<Item = Row>) -> bool {
        let mut report = Report::new("counted", "h:1", true, beyond_counts, |_| ());
        rows.into_iter().for_each(|row| report.add(row));
        report.finish()
    }

    #[test]
    fn rows_are_aligned_and_a_failed_one_shows_what_was_expected_and_received() {
        let row = |method, violation| line(&Row::new("a rule", method, violation));
        assert_eq!(row(Method::Whole, None), "pass    whole         a rule\n");
        assert_eq!(
            line(&Row::new("a rule", Method::Draw, None).beyond()),
            "pass    draw          [beyond] a rule\n"
        );
        assert_eq!(
            row(Method::Bytewise, violation()),
            "FAIL    byte by byte  a rule\n          expected  01\n          received  00\n"
        );
    }

    #[test]
    fn a_server_passes_if_no_counted_rule_fails() {
        let kept = || Row::new("kept", Method::Whole, None);
        let broken = || Row::new("broken", Method::Whole, violation());
        assert!(passes(false, [kept(), kept().beyond()]));
        assert!(!passes(false, [kept(), broken()]));
        assert!(passes(false, [kept(), broken().beyond()]));
        assert!(!passes(true, [kept(), broken().beyond()]));
    }
}
