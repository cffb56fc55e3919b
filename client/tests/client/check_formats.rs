//! The forms of the report of `loteria-agency check`: identifiers and points, JUnit, TAP, the
//! diagnoses in two languages, and the wait for a server that starts.

use std::collections::BTreeSet;
use std::path::Path;
use std::thread;
use std::time::Duration;

use lottery::protocol::DIALECTS;
use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};
use serde_json::Value;

use crate::check::{dialect, report, report_of};
use crate::support::{ClosedPort, Ended, Fault, Setup, start_fake_server};
use crate::teach::teach;

/// Checks a server with these faults in a dialect with a short check.
fn check<const N: usize>(faults: &'static [Fault], arguments: [&str; N]) -> Ended {
    let server = start_fake_server(dialect("counted"), faults).to_string();
    let setup = Setup::new().args(["check", "--protocol", "counted", &server]);
    setup.args(["--timeout", "2s"]).args(arguments).finish()
}

/// Returns the identifiers of the rules of a dialect as `--list` prints them, with group, points
/// and sentence.
fn listed(dialect: &str) -> Vec<[String; 4]> {
    let setup = Setup::new().args(["check", "--list", "--beyond", "--protocol", dialect]);
    let ended = setup.finish();
    assert_eq!((ended.code, &*ended.errors), (Some(0), ""));
    let fields = |line: &String| {
        let mut rest = line.as_str();
        let mut next = || {
            let (field, after) = rest.trim_start().split_once("  ").unwrap();
            rest = after;
            field.trim().to_owned()
        };
        let [id, group, points] = [next(), next(), next()];
        [id, group, points, rest.trim().to_owned()]
    };
    ended.lines[1..].iter().map(fields).collect()
}

#[test]
fn the_table_of_the_page_about_rules_has_every_rule_with_its_group_and_points() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/rules.md");
    let page = std::fs::read_to_string(page).unwrap();
    let mut expected = BTreeSet::new();
    for dialect in DIALECTS {
        for [id, group, points, rule] in listed(dialect.name) {
            // The row of the messages in pieces is that of the whole ones.
            if !id.ends_with("-split") {
                expected.insert(format!("| `{id}` | {group} | {points} | {rule} |"));
            }
        }
    }
    let found: BTreeSet<_> =
        page.lines().filter(|line| line.starts_with("| `")).map(str::to_owned).collect();
    let missing: Vec<_> = expected.difference(&found).collect();
    let unknown: Vec<_> = found.difference(&expected).collect();
    assert!(missing.is_empty() && unknown.is_empty(), "missing {missing:#?}, unknown {unknown:#?}");
}

#[test]
fn the_list_has_the_identifiers_of_the_report_in_its_order() {
    for name in ["typed", "echo", "counted"] {
        let report = report(name, &[], ["--beyond"]);
        let row = |row: &Value| {
            let text = |key: &str| row[key].as_str().unwrap().to_owned();
            (text("id"), text("group"), row["weight"].to_string())
        };
        let reported: Vec<_> = report.rows().iter().map(row).collect();
        let listed = listed(name).into_iter().map(|[id, group, points, _]| (id, group, points));
        assert_eq!(listed.collect::<Vec<_>>(), reported, "{name}");
    }
}

#[test]
fn the_points_of_a_group_or_a_rule_can_be_given_and_add_up_to_the_grade() {
    let arguments = ["--weight", "draw=20", "--weight", "counted/batch=7", "--weight", "framing=0"];
    let report = report("counted", &[Fault::AnswersEarly], arguments);
    // Of three rules of the draw, the one about early answers is broken. The first of three rules
    // about valid messages has other points, and there are six about invalid ones.
    assert_eq!(report.json["groups"]["draw"], serde_json::json!({ "points": 40, "of": 60 }));
    assert_eq!(report.json["groups"]["replies"], serde_json::json!({ "points": 13, "of": 13 }));
    assert_eq!(report.json["groups"]["framing"], serde_json::json!({ "points": 0, "of": 0 }));
    assert_eq!(report.json["grade"], serde_json::json!({ "points": 59, "of": 79 }));
    let sum = |key: &str| -> u64 {
        let groups = report.json["groups"].as_object().unwrap();
        groups.values().map(|group| group[key].as_u64().unwrap()).sum()
    };
    assert_eq!((sum("points"), sum("of")), (59, 79));
}

#[test]
fn only_the_rules_of_the_groups_that_are_named_are_tried_and_graded() {
    let groups = |arguments: &[&str]| {
        let server = start_fake_server(dialect("framed"), &[]);
        let report = report_of("framed", server, arguments);
        let group = |row: &Value| row["group"].as_str().unwrap().to_owned();
        let found: BTreeSet<_> = report.rows().iter().map(group).collect();
        let points = report.rows().iter().map(|row| row["weight"].as_u64().unwrap()).sum::<u64>();
        assert_eq!((report.code, &report.json["grade"]["of"]), (Some(0), &points.into()));
        found.into_iter().collect::<Vec<_>>()
    };
    assert_eq!(groups(&["--group", "refusals"]), ["refusals"]);
    assert_eq!(groups(&["--group", "replies", "--group", "draw", "--beyond"]), ["draw", "replies"]);
}

#[test]
fn a_weight_that_names_nothing_is_refused() {
    for (weight, reason) in [
        ("draws=1", "neither a group"),
        ("draw", "NAME=POINTS"),
        ("counted/no-such-rule=1", "--list prints them"),
        ("typed/batch=1", "--list prints them"),
    ] {
        let setup = Setup::new().args(["check", "--protocol", "counted", "h:1"]);
        let ended = setup.args(["--weight", weight]).finish();
        assert_eq!((ended.code, ended.lines.len()), (Some(2), 0), "{weight}");
        assert!(ended.errors.contains(reason), "{weight}: {}", ended.errors);
    }
}

/// Returns an attribute of an element.
fn attribute(element: &BytesStart<'_>, name: &str) -> String {
    let found = element.try_get_attribute(name).unwrap().unwrap();
    found.normalized_value(quick_xml::XmlVersion::Implicit1_0).unwrap().into_owned()
}

/// A test of a JUnit report: its name, and what it contains, if that is not nothing.
fn junit_tests(document: &str) -> (BytesStart<'static>, Vec<(String, Option<String>)>) {
    let mut reader = Reader::from_str(document);
    let (mut suite, mut tests) = (None, Vec::<(String, Option<String>)>::new());
    loop {
        match reader.read_event().unwrap() {
            Event::Eof => return (suite.unwrap(), tests),
            Event::Start(element) | Event::Empty(element) => match element.name().as_ref() {
                "testsuite" => suite = Some(element.into_owned()),
                "testcase" => tests.push((attribute(&element, "name"), None)),
                kind @ ("failure" | "error" | "skipped") => {
                    tests.last_mut().unwrap().1 = Some(kind.to_owned());
                }
                _ => {}
            },
            _ => {}
        }
    }
}

#[test]
fn junit_has_a_test_per_row_with_failures_and_uncounted_rows_as_skipped() {
    const FAULTS: &[Fault] = &[Fault::AnswersEarly, Fault::AcceptsLateBets];
    let ended = check(FAULTS, ["--format", "junit", "--explain"]);
    assert_eq!(ended.code, Some(1));
    let (suite, tests) = junit_tests(&ended.lines.join("\n"));
    let rows = report("counted", FAULTS, []);
    let expected = rows.rows().iter().map(|row| {
        let result = match (row["passed"] == true, row["beyond"] == true) {
            (true, _) => None,
            (false, false) => Some("failure".to_owned()),
            (false, true) => Some("skipped".to_owned()),
        };
        (row["id"].as_str().unwrap().to_owned(), result)
    });
    assert_eq!(tests, expected.collect::<Vec<_>>());
    let counts = ["tests", "failures", "errors", "skipped"].map(|name| attribute(&suite, name));
    assert_eq!(counts, [tests.len().to_string(), "1".into(), "0".into(), "1".into()]);
}

#[test]
fn junit_has_an_error_for_each_row_that_was_not_tried() {
    let ended = check(&[Fault::EndsAfter(4)], ["--format", "junit"]);
    assert_eq!(ended.code, Some(1));
    let (suite, tests) = junit_tests(&ended.lines.join("\n"));
    let errors = tests.iter().filter(|test| test.1.as_deref() == Some("error")).count();
    let uncounted = tests.iter().filter(|test| test.1.as_deref() == Some("skipped")).count();
    // Nine rules by two methods, and five of the draw, two of which do not count.
    assert_eq!((tests.len(), errors, uncounted), (23, 23 - 4 - 2, 2));
    assert_eq!(attribute(&suite, "errors"), errors.to_string());
}

#[test]
fn tap_has_a_plan_a_line_per_row_and_uncounted_rows_as_todo() {
    const FAULTS: &[Fault] = &[Fault::AnswersEarly, Fault::AcceptsLateBets];
    let ended = check(FAULTS, ["--format", "tap"]);
    assert_eq!(
        (ended.code, &*ended.lines[0], &*ended.lines[1]),
        (Some(1), "TAP version 13", "1..23")
    );
    let lines: Vec<_> = ended
        .lines
        .iter()
        .filter(|line| line.starts_with("ok") | line.starts_with("not ok"))
        .collect();
    assert_eq!(lines.len(), 23);
    for (number, line) in (1..).zip(&lines) {
        assert!(line.contains(&format!("ok {number} - counted/")), "{line}");
    }
    let failed: Vec<_> = lines.iter().filter(|line| line.starts_with("not")).collect();
    assert!(failed[0].contains("counted/draw-waits") && !failed[0].contains('#'), "{failed:?}");
    assert!(failed[1].ends_with(" # TODO beyond the original systems"), "{failed:?}");
    assert_eq!(failed.len(), 2);
    let at = ended.lines.iter().position(|line| line.starts_with("not ok")).unwrap();
    assert_eq!(ended.lines[at + 1], "  ---");
    assert_eq!(ended.lines[at + 2], "  expected: \"nothing before agency 1 has finished\"");
    assert!(ended.lines.iter().skip(at).any(|line| line == "  ..."));

    let ended = check(&[Fault::EndsAfter(2)], ["--format", "tap"]);
    assert_eq!((ended.code, ended.count("Bail out! the server is gone")), (Some(1), 1));
}

#[test]
fn json_is_an_alias_and_no_other_form_may_be_given_with_it() {
    let keys = |arguments: [&str; 2]| {
        let ended = check(&[], arguments);
        let object: Value = serde_json::from_str(&ended.lines.join("\n")).unwrap();
        object.as_object().unwrap().keys().cloned().collect::<Vec<_>>()
    };
    assert_eq!(keys(["--format", "json"]), keys(["--json", "--explain"]));
    let ended = check(&[], ["--json", "--format", "tap"]);
    assert_eq!((ended.code, ended.lines.len()), (Some(2), 0));
}

#[test]
fn a_diagnosis_has_the_cause_and_the_bytes_around_the_first_wrong_one() {
    let report = report("counted", &[Fault::RefusesWith(b"\x02")], ["--no-draw", "--explain"]);
    let row = report.rows().iter().find(|row| row["id"] == "counted/impossible-date").unwrap();
    let diagnosis = &row["diagnosis"];
    assert_eq!(diagnosis["cause"], "not-validated");
    let received = diagnosis["received"].as_str().unwrap();
    assert!(
        received.starts_with("received, 1 bytes, wrong from byte 0:\n00000000 [02]"),
        "{received}"
    );
    // The batch has two bets of agency 1.
    let sent = diagnosis["sent"].as_str().unwrap();
    assert!(sent.contains("\n00000000  00 02 01 00 "), "{sent}");
    let kept = report.rows().iter().find(|row| row["id"] == "counted/batch").unwrap();
    assert!(kept["diagnosis"].is_null());
}

#[test]
fn a_server_that_reads_once_is_diagnosed_in_the_language_of_the_locale() {
    let check = |variable: &str, locale: &str| {
        let server = teach("echo", Some("short-read"));
        let address = server.address.to_string();
        let setup = Setup::new().args(["check", "--protocol", "echo", &address, "--explain"]);
        setup.args(["--beyond"]).env(variable, locale).finish().lines.join("\n")
    };
    let english = check("LC_ALL", "C");
    assert!(english.contains("TCP may split a message anywhere"), "{english}");
    assert!(english.contains("sent on this connection, 24 bytes:"), "{english}");
    let spanish = check("LANG", "es_AR.UTF-8");
    assert!(spanish.contains("TCP puede partir un mensaje"), "{spanish}");
    assert!(spanish.contains("enviado en esta conexión, 24 bytes:"), "{spanish}");
    assert!(!spanish.contains("sent on this connection"), "{spanish}");
}

#[test]
fn a_check_waits_for_a_server_that_starts() {
    let closed = ClosedPort::new();
    let address = closed.address().to_string();
    let setup = Setup::new().args(["check", "--protocol", "echo", &address, "--wait", "20s"]);
    let _check = setup.start();
    // Time for an attempt that fails. If there was none, the test passes as well.
    thread::sleep(Duration::from_millis(200));
    let central = closed.listen();
    central.accept();

    let ended = Setup::new().args(["check", "--protocol", "echo", "127.0.0.1:1"]);
    let ended = ended.args(["--wait", "100ms"]).finish();
    assert_eq!((ended.code, ended.lines.len()), (Some(1), 0));
    assert!(ended.errors.contains("cannot connect: "), "{}", ended.errors);
}

#[test]
fn a_server_that_serves_too_few_agencies_is_not_diagnosed_as_a_lost_bet() {
    let server = start_fake_server(dialect("framed"), &[]);
    let arguments = ["--agencies", "4", "--timeout", "1s", "--explain"];
    let report = report_of("framed", server, &arguments);
    let row = report.rows().iter().find(|row| row["id"] == "framed/draw-winners").unwrap();
    assert_eq!(row["diagnosis"]["cause"], "no-draw");
}
