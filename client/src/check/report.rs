//! The report, as a table that grows while the rules are tried or as one JSON object at the end.

use serde_json::{Value, json};

use super::row::Row;

/// The heading of the table; the rows keep to its columns.
const HEADING: &str = "result  tried         rule\n";

/// What has become of the rules so far.
pub(super) struct Report {
    /// Name of the dialect.
    protocol: &'static str,
    /// The server, as it was given.
    address: String,
    /// One object at the end instead of a table.
    json: bool,
    /// Whether a rule beyond the described systems counts like any other.
    beyond_counts: bool,
    /// Prints to standard output.
    say: fn(&str),
    /// The rows so far.
    rows: Vec<Row>,
}

impl Report {
    /// Begins a report.
    pub(super) fn new(
        protocol: &'static str,
        address: &str,
        json: bool,
        beyond_counts: bool,
        say: fn(&str),
    ) -> Self {
        if !json {
            say(&format!("{protocol} at {address}\n{HEADING}"));
        }
        Self { protocol, address: address.to_owned(), json, beyond_counts, say, rows: Vec::new() }
    }

    /// Adds a row, which the table shows at once: a server that never answers makes the whole take long.
    pub(super) fn add(&mut self, row: Row) {
        if !self.json {
            (self.say)(&line(&row));
        }
        self.rows.push(row);
    }

    /// Ends the report; whether the server passes.
    pub(super) fn end(self) -> bool {
        let failed = self.rows.iter().filter(|row| row.broken.is_some()).count();
        let passed = self.rows.len() - failed;
        let uncounted = self
            .rows
            .iter()
            .filter(|row| row.broken.is_some() && row.beyond && !self.beyond_counts)
            .count();
        let conforms = failed == uncounted;
        if self.json {
            let object = json!({
                "protocol": self.protocol,
                "address": self.address,
                "passed": passed,
                "failed": failed,
                "conforms": conforms,
                "rules": self.rows.iter().map(object).collect::<Vec<_>>(),
            });
            (self.say)(&format!("{object:#}\n"));
        } else {
            let note = match uncounted {
                0 => String::new(),
                _ => format!(
                    ", of which {uncounted} beyond the described system: not held against it"
                ),
            };
            (self.say)(&format!("{passed} passed, {failed} failed{note}\n"));
        }
        conforms
    }
}

/// A row of the table, with two more lines where it failed.
fn line(row: &Row) -> String {
    let result = if row.broken.is_some() { "FAIL" } else { "pass" };
    let mark = if row.beyond { "[beyond] " } else { "" };
    let mut line = format!("{result:6}  {:12}  {mark}{}\n", row.how.name(), row.rule);
    if let Some(broken) = &row.broken {
        line += &format!(
            "          expected  {}\n          came      {}\n",
            broken.expected, broken.came
        );
    }
    line
}

fn object(row: &Row) -> Value {
    let broken = row.broken.as_ref();
    json!({
        "rule": row.rule,
        "how": row.how.name(),
        "beyond": row.beyond,
        "passed": broken.is_none(),
        "expected": broken.map(|broken| &broken.expected),
        "came": broken.map(|broken| &broken.came),
    })
}

#[cfg(test)]
mod tests {
    use super::super::row::{Broken, How};
    use super::*;

    fn broken() -> Option<Broken> {
        Some(Broken { expected: "01".into(), came: "00".into() })
    }

    fn report(beyond_counts: bool, rows: impl IntoIterator<Item = Row>) -> bool {
        let mut report = Report::new("counted", "h:1", true, beyond_counts, |_| ());
        rows.into_iter().for_each(|row| report.add(row));
        report.end()
    }

    #[test]
    fn rows_stand_in_columns_and_a_failed_one_tells_what_was_expected_and_what_came() {
        let row = |how, broken| line(&Row::new("a rule", how, broken));
        assert_eq!(row(How::Whole, None), "pass    whole         a rule\n");
        assert_eq!(
            line(&Row::new("a rule", How::Draw, None).beyond()),
            "pass    draw          [beyond] a rule\n"
        );
        assert_eq!(
            row(How::Bytewise, broken()),
            "FAIL    byte by byte  a rule\n          expected  01\n          came      00\n"
        );
    }

    #[test]
    fn a_server_passes_when_nothing_failed_that_counts() {
        let kept = || Row::new("kept", How::Whole, None);
        let failed = || Row::new("broken", How::Whole, broken());
        assert!(report(false, [kept(), kept().beyond()]));
        assert!(!report(false, [kept(), failed()]));
        assert!(report(false, [kept(), failed().beyond()]));
        assert!(!report(true, [kept(), failed().beyond()]));
    }
}
