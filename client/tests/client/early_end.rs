//! `loteria-agency check` of servers on which most rules cannot be tried: it ends early and names
//! the reason.

use std::thread;

use lottery::protocol::{DIALECTS, Dialect, Scope};

use crate::check::{Report, dialect, each, report, report_of};
use crate::support::{Fault, Setup, dialects_that, start_fake_server};

/// Long enough for a reply on a loaded machine. The attempts of a diagnosis have a quarter of it.
const PATIENT: [&str; 2] = ["--timeout", "12s"];

/// Returns why the check ended early, its message, and the number of rules that were not tried.
fn stopped(report: &Report) -> (&str, &str, usize) {
    let stopped = &report.json["stopped"];
    let text = |key: &str| stopped[key].as_str().unwrap_or_else(|| panic!("{:#}", report.json));
    (text("why"), text("message"), stopped["not_tried"].as_array().unwrap().len())
}

/// Returns the number of rules that a check without `--beyond` tries before the draw.
fn rules_tried(name: &str) -> usize {
    (dialect(name).rules)().iter().filter(|rule| rule.scope != Scope::Fatal).count()
}

#[test]
fn a_server_that_ends_is_reported_once_with_the_rules_that_were_not_tried() {
    // Three connections serve the first rule by both methods, and the second one whole.
    let report = report("framed", &[Fault::EndsAfter(3)], []);
    assert_eq!((report.code, report.rows().len(), report.failed()), (Some(1), 3, vec![]));
    let (why, message, rules) = stopped(&report);
    // The draw has six rules without --beyond.
    assert_eq!((why, rules), ("gone", rules_tried("framed") - 2 + 6));
    let since = "the server is gone since the rule \"the last line break is optional\" (whole): ";
    assert!(message.starts_with(&format!("{since}cannot connect: ")), "{message}");
    assert_eq!(report.json["conforms"], false);
}

#[test]
fn the_table_shows_the_reason_before_the_summary() {
    let server = start_fake_server(dialect("counted"), &[Fault::EndsAfter(2)]).to_string();
    let ended = Setup::new().args(["check", "--protocol", "counted", &server]).finish();
    assert_eq!(ended.code, Some(1));
    let [.., reason, summary] = &ended.lines[..] else { panic!("{:?}", ended.lines) };
    assert!(
        reason.starts_with("stopped: the server is gone since the rule \"a batch "),
        "{reason}"
    );
    assert!(reason.ends_with("; 13 rules not tried"), "{reason}");
    // Of nine rules, three are about valid messages. The draw has five rules, three of which count.
    assert_eq!(summary, "2 passed, 0 failed, 4 of 54 points");
}

#[test]
fn a_server_that_is_gone_before_the_draw_fails_no_rule_of_it() {
    let report = report("line", &[Fault::EndsAfter(2 * 6)], []);
    assert_eq!((rules_tried("line"), report.rows().len()), (6, 12));
    assert_eq!((report.failed(), stopped(&report).0, stopped(&report).2), (vec![], "gone", 5));
}

#[test]
fn a_server_that_has_held_its_draw_is_recognised() {
    each(dialects_that(|dialect| dialect.waits_for_draw), |dialect| {
        let server = start_fake_server(dialect, &[]);
        assert_eq!(report_of(dialect.name, server, &PATIENT).code, Some(0), "{}", dialect.name);
        let again = report_of(dialect.name, server, &PATIENT);
        let (why, message, rules) = stopped(&again);
        assert_eq!((again.code, why, again.rows().len()), (Some(1), "draw held", 2));
        assert!(message.contains("start it again without the bets of the last lottery"));
        assert!(rules >= rules_tried(dialect.name) - 1, "{}: {rules}", dialect.name);
    });
}

#[test]
fn a_server_of_another_dialect_is_recognised() {
    let next = DIALECTS.iter().cycle().skip(1);
    let mut pairs: Vec<_> = DIALECTS.iter().zip(next).map(|pair| (pair.0.name, pair.1)).collect();
    pairs.push(("counted-u8", dialect("counted")));
    let check = |asked: &str, served: &'static Dialect| {
        let report = report_of(asked, start_fake_server(served, &[]), &["--timeout", "4s"]);
        let message = format!("the server speaks {0}: check it with --protocol {0}", served.name);
        assert_eq!(report.code, Some(1), "{asked}, {}", served.name);
        assert_eq!(stopped(&report).1, message, "{asked}");
    };
    // At the same time, because a check mostly waits.
    thread::scope(|scope| {
        for (asked, served) in pairs {
            scope.spawn(move || check(asked, served));
        }
    });
}

#[test]
fn the_draw_may_be_held_first() {
    let rules = |report: &Report| -> Vec<_> {
        report.rows().iter().map(|row| row["how"].as_str().unwrap().to_owned()).collect()
    };
    let lenient = report("framed", &[Fault::AcceptsLateBets], ["--draw-first"]);
    let methods = rules(&lenient);
    assert_eq!((lenient.code, methods.len()), (Some(0), 6 + 2 * rules_tried("framed")));
    assert!(methods[..6].iter().all(|method| method == "draw"), "{methods:?}");

    let strict = report("framed", &[], ["--draw-first"]);
    assert_eq!((strict.code, rules(&strict).len(), strict.failed()), (Some(1), 6, vec![]));
    assert_eq!((stopped(&strict).0, stopped(&strict).2), ("draw held", rules_tried("framed")));

    // Agencies 2 to 5 use a connection each, and agency 1 another one.
    let ending = report("sentinel", &[Fault::EndsAfter(5)], ["--draw-first"]);
    assert!(ending.failed().iter().all(|(_, how)| how == "draw"), "{:?}", ending.failed());
    assert_eq!((stopped(&ending).0, stopped(&ending).2), ("gone", rules_tried("sentinel")));

    let typed = report("typed", &[], ["--draw-first"]);
    assert_eq!((typed.code, typed.failed()), (Some(0), vec![]));
}

#[test]
fn rules_that_end_an_original_server_are_tried_last_and_only_with_the_beyond_flag() {
    for name in ["sentinel", "line"] {
        let fatal: Vec<_> = (dialect(name).rules)()
            .into_iter()
            .filter(|rule| rule.scope == Scope::Fatal)
            .map(|rule| rule.name)
            .collect();
        let is_fatal = |row: &&serde_json::Value| fatal.contains(&row["rule"].as_str().unwrap());
        let plain = report(name, &[], []);
        assert_eq!((plain.code, plain.rows().iter().filter(is_fatal).count()), (Some(0), 0));
        let beyond = report(name, &[], ["--beyond"]);
        let rows: Vec<_> = beyond.rows().iter().filter(|row| row["how"] != "draw").collect();
        let last = &rows[rows.len() - 2 * fatal.len()..];
        assert!(last.iter().all(|row| is_fatal(row) && row["beyond"] == true), "{last:?}");
    }
}

#[test]
fn rules_that_an_original_server_breaks_are_marked() {
    let marked = |name: &str, how: &str| -> Vec<_> {
        let report = report(name, &[], ["--no-draw"]);
        let rows = report.rows().iter().filter(|row| row["beyond"] == true && row["how"] == how);
        rows.map(|row| row["rule"].as_str().unwrap().to_owned()).collect()
    };
    let cut = "a packet truncated by the end of the batch is answered with ERR";
    assert_eq!(marked("sentinel", "whole"), [cut]);
    assert_eq!(marked("sentinel", "byte by byte").len(), rules_tried("sentinel"));
    assert_eq!(marked("echo", "byte by byte").len(), rules_tried("echo"));
    assert!(marked("echo", "whole").iter().all(|rule| rule.starts_with("blanks at the ")));
    assert_eq!(marked("echo", "whole").len(), 2);
    assert_eq!(marked("framed", "whole").len() + marked("framed", "byte by byte").len(), 0);
}

#[test]
fn a_server_that_ends_when_a_stream_ends_can_be_checked() {
    for name in ["sentinel", "line"] {
        let report = report(name, &[Fault::EndsAtEndOfStream], []);
        assert_eq!((report.code, report.failed()), (Some(0), vec![]), "{name}");
    }
}
