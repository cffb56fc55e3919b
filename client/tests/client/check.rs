//! `loteria-agency check` against fake servers of every dialect: correct servers pass, and a faulty
//! one fails exactly the rules that it breaks.

use std::net::SocketAddr;
use std::thread;

use lottery::protocol::{DIALECTS, Dialect, Rule, Step};
use nix::sys::signal::Signal::{SIGINT, SIGTERM};
use serde_json::Value;

use crate::support::{ClosedPort, Ended, Fault, PROMPT, Setup, dialects_that, start_fake_server};

/// The two methods by which each rule is tried.
const BOTH_METHODS: [&str; 2] = ["whole", "byte by byte"];

const STORED: &str = "every batch of agencies that send at the same time is acknowledged";
const NOTIFIED: &str = "every notification that all bets are sent is acknowledged";
const WAITS: &str = "no agency is answered before the last one has finished";
const DISTINCT: &str = "a repeated notification of one agency does not count for another";
const OWN: &str = "then every agency is answered with exactly its own winners";
const TORN: &str = "no bet of a batch with an invalid bet takes part";
const RETURNS: &str = "an agency that disconnects before the draw is answered when it reconnects";
const AGAIN: &str = "a query after the draw is answered with the same winners";
const LATE: &str = "a batch after the draw is not acknowledged";
const REPEATED_LATE: &str = "a batch that is sent again after the draw gets the same reply";

/// Runs `look` for the dialects at the same time, because a check mostly waits.
pub(crate) fn each(
    dialects: impl IntoIterator<Item = &'static Dialect>,
    look: impl Fn(&'static Dialect) + Sync,
) {
    let look = &look;
    thread::scope(|scope| {
        dialects.into_iter().for_each(|dialect| drop(scope.spawn(move || look(dialect))))
    });
}

pub(crate) fn dialect(name: &str) -> &'static Dialect {
    Dialect::named(name).unwrap()
}

fn check<const N: usize>(dialect: &str, server: SocketAddr, arguments: [&str; N]) -> Ended {
    let address = server.to_string();
    Setup::new().args(["check", "--protocol", dialect, &address]).args(arguments).finish()
}

/// The report of a check.
pub(crate) struct Report {
    pub(crate) code: Option<i32>,
    pub(crate) json: Value,
}

/// Checks a fake server with these faults.
pub(crate) fn report<const N: usize>(
    name: &str,
    faults: &'static [Fault],
    arguments: [&str; N],
) -> Report {
    report_of(name, start_fake_server(dialect(name), faults), &arguments)
}

/// Checks a running server against the rules of a dialect.
pub(crate) fn report_of(name: &str, server: SocketAddr, arguments: &[&str]) -> Report {
    let address = server.to_string();
    let setup = Setup::new().args(["check", "--json", "--protocol", name, &address]);
    let setup = arguments.iter().fold(setup, |setup, argument| setup.args([argument]));
    let ended = setup.finish();
    assert_eq!(ended.errors, "");
    Report { code: ended.code, json: serde_json::from_str(&ended.lines.join("\n")).unwrap() }
}

impl Report {
    pub(crate) fn rows(&self) -> &[Value] {
        self.json["rules"].as_array().unwrap()
    }

    /// Returns rule and method of the failed rows.
    pub(crate) fn failed(&self) -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let failed = self.rows().iter().filter(|row| row["passed"] == false);
        failed.map(|row| (text(&row["rule"]), text(&row["how"]))).collect()
    }

    /// Returns what was expected and received in the first row of a rule.
    fn expected_and_received(&self, rule: &str) -> (&str, &str) {
        let row = self.rows().iter().find(|row| row["rule"] == rule).unwrap();
        (row["expected"].as_str().unwrap(), row["came"].as_str().unwrap())
    }
}

/// Returns rows in the form of [`Report::failed`]: the rules for which `fails` is true by both
/// methods, then these rules of the draw.
fn rows(rules: &[Rule], fails: impl Fn(&Rule) -> bool, draw: &[&str]) -> Vec<(String, String)> {
    let broken = rules.iter().filter(|rule| fails(rule));
    let tried = broken
        .flat_map(|rule| BOTH_METHODS.map(|method| (rule.name.to_owned(), method.to_owned())));
    tried.chain(draw.iter().map(|rule| ((*rule).to_owned(), "draw".to_owned()))).collect()
}

/// Returns true if the rule expects a reply that begins with these bytes.
fn expects(rule: &Rule, begin: &[u8]) -> bool {
    rule.steps.iter().any(|step| matches!(step, Step::Expect(reply) if reply.starts_with(begin)))
}

/// Returns true if the rule expects any reply.
fn is_answered(rule: &Rule) -> bool {
    !rule
        .steps
        .iter()
        .all(|step| matches!(step, Step::Send(_) | Step::HalfClose | Step::ExpectNothing))
}

#[test]
fn a_correct_server_of_any_dialect_passes_every_rule() {
    each(DIALECTS, |dialect| {
        let report = report(dialect.name, &[], ["--beyond"]);
        assert_eq!((report.code, report.failed()), (Some(0), vec![]), "{}", dialect.name);
        assert_eq!(
            (&report.json["passed"], &report.json["failed"]),
            (&report.rows().len().into(), &0.into())
        );
        assert_eq!(
            (&report.json["protocol"], &report.json["conforms"]),
            (&dialect.name.into(), &true.into())
        );
        let rules = (dialect.rules)();
        let passed = rows(&rules, |_| true, &[]);
        let tried = report
            .rows()
            .iter()
            .map(|row| (row["rule"].as_str().unwrap(), row["how"].as_str().unwrap()));
        assert!(
            tried
                .take(passed.len())
                .eq(passed.iter().map(|(rule, how)| (rule.as_str(), how.as_str())))
        );
    });
}

#[test]
fn a_server_that_never_closes_a_connection_fails_only_the_rules_that_expect_the_end() {
    each(DIALECTS, |dialect| {
        let report = report(dialect.name, &[Fault::NeverCloses], ["--timeout", "500ms"]);
        let expects_end =
            |rule: &Rule| rule.steps.iter().any(|step| matches!(step, Step::ExpectEnd));
        let failed = rows(&(dialect.rules)(), expects_end, &[]);
        let code = i32::from(!failed.is_empty());
        assert_eq!((report.code, report.failed()), (Some(code), failed), "{}", dialect.name);
    });
}

#[test]
fn a_server_that_serves_one_connection_after_the_other_passes() {
    each(DIALECTS, |dialect| {
        let report = report(dialect.name, &[Fault::ServesOneAtATime], []);
        assert_eq!((report.code, report.failed()), (Some(0), vec![]), "{}", dialect.name);
    });
}

#[test]
fn a_wrong_reply_byte_fails_the_rules_that_expect_another() {
    let report = report("counted", &[Fault::RefusesWith(b"\x02")], []);
    let rules = (dialect("counted").rules)();
    let failed = rows(&rules, |rule| expects(rule, &[1]), &[]);
    assert!(!failed.is_empty());
    assert_eq!((report.code, report.failed()), (Some(1), failed));
    assert_eq!(
        report.expected_and_received("a batch with an impossible date is refused with 01"),
        ("01", "02")
    );
    assert_eq!(report.json["conforms"], false);
}

#[test]
fn an_acknowledged_bad_batch_fails_the_rules_that_expect_a_refusal() {
    let report = report("sentinel", &[Fault::AcknowledgesBadBatches], ["--beyond"]);
    let rules = (dialect("sentinel").rules)();
    let failed = rows(&rules, |rule| expects(rule, b"ERR"), &[LATE]);
    assert_eq!((report.code, report.failed()), (Some(1), failed));
    let rule = "an impossible date is answered with ERR";
    assert_eq!(report.expected_and_received(rule), ("\"ERR\" (reply 1 of 2)", "\"ACK\""));
    assert_eq!(
        report.expected_and_received(LATE),
        ("an error, or no reply", "it was acknowledged")
    );
}

#[test]
fn a_reply_where_none_is_expected_is_reported() {
    let report = report("line", &[Fault::RefusesWith(b"ERROR\n")], ["--beyond"]);
    let rules = (dialect("line").rules)();
    // A client that closes its connection too early gets no refusal.
    let refused =
        |rule: &Rule| rule.steps.len() == 2 && matches!(rule.steps[1], Step::ExpectNothing);
    assert_eq!((report.code, report.failed()), (Some(1), rows(&rules, refused, &[])));
    assert_eq!(
        report.expected_and_received("a blank line gets no reply"),
        ("nothing", "\"ERROR\\n\"")
    );
}

#[test]
fn bytes_after_a_correct_reply_fail_the_rule() {
    let report = report("counted-u8", &[Fault::Appends(b"\0")], ["--no-draw"]);
    let rules = (dialect("counted-u8").rules)();
    let failed = rows(&rules, |rule| expects(rule, &[0]), &[]);
    assert_eq!((report.code, report.failed()), (Some(1), failed));
    assert_eq!(
        report.expected_and_received("a batch is stored and answered with 00"),
        ("nothing more", "00")
    );
}

#[test]
fn a_silent_server_fails_exactly_the_rules_that_expect_a_reply() {
    let report = report("line", &[Fault::NeverAnswers], ["--timeout", "200ms"]);
    let rules = (dialect("line").rules)();
    let failed = rows(&rules, is_answered, &[STORED, OWN, AGAIN, LATE]);
    assert_eq!((report.code, report.failed()), (Some(1), failed));
    let rule = "a batch is answered with the line that ends it";
    assert_eq!(
        report.expected_and_received(rule),
        ("\"[AGENCY 1] BetBatchEnd\\n\"", "nothing within 200ms")
    );
    let never = ("every batch stored", "agency 1: batch 1: nothing within 200ms");
    assert_eq!(report.expected_and_received(STORED), never);
}

#[test]
fn a_server_that_closes_at_once_is_reported_differently_from_a_silent_one() {
    let report = report("framed", &[Fault::ClosesAtOnce], []);
    let rules = (dialect("framed").rules)();
    let failed = rows(&rules, is_answered, &[STORED, NOTIFIED, OWN, AGAIN, LATE]);
    assert_eq!((report.code, report.failed()), (Some(1), failed));
    let (_, received) =
        report.expected_and_received("a batch is answered with the number of its bets");
    // The kernel resets a connection that is closed with unread bytes.
    assert!(["the connection ended", "the connection was reset"].contains(&received), "{received}");
}

#[test]
fn a_server_that_treats_a_read_as_a_message_fails_byte_by_byte() {
    let report = report("framed", &[Fault::TreatsReadAsMessage], []);
    let rules = (dialect("framed").rules)();
    let (answered, failed) = (rows(&rules, is_answered, &[]), report.failed());
    // Not necessarily all of them: the server may read all pieces of a short message together.
    assert!(!failed.is_empty() && failed.iter().all(|row| answered.contains(row)), "{failed:?}");
    assert!(failed.iter().all(|(_, how)| how == "byte by byte"), "{failed:?}");
    assert_eq!(report.code, Some(1));
}

#[test]
fn a_repetition_that_is_stored_twice_fails_the_rule_about_own_winners() {
    let report = report("keyed", &[Fault::StoresRepetitions], []);
    assert_eq!((report.code, report.failed()), (Some(1), rows(&[], |_| true, &[OWN])));
    let (expected, received) = report.expected_and_received(OWN);
    assert_eq!(expected, "agency 1: 2 winners (30001001, 30001004)");
    let twice = "agency 1: 4 winners (30001001, 30001001, 30001004, 30001004)";
    assert_eq!(received, twice);
}

#[test]
fn an_accepted_gap_fails_the_rules_that_expect_the_next_number() {
    let report = report("keyed", &[Fault::AcceptsGaps], []);
    let gaps = [
        "a batch after a gap is refused with the expected number",
        "a session that does not start with batch 1 is refused with 1",
        "a last batch that is refused ends the connection",
    ];
    let rules = (dialect("keyed").rules)();
    let failed = rows(&rules, |rule| gaps.contains(&rule.name), &[]);
    assert_eq!((report.code, report.failed()), (Some(1), failed.clone()));
    assert_eq!(failed.len(), 6, "{failed:?}");
    assert_eq!(
        report.expected_and_received(gaps[1]),
        ("an error with code 20 and the number 1", "81 81 00 00 00 02 00 00")
    );
}

#[test]
fn a_repetition_that_is_refused_after_the_draw_fails() {
    let report = report("keyed", &[Fault::ForgetsSessions], []);
    assert_eq!((report.code, report.failed()), (Some(1), rows(&[], |_| true, &[REPEATED_LATE])));
    assert_eq!(
        report.expected_and_received(REPEATED_LATE),
        ("the bytes of the first reply", "an error: bets are closed")
    );
}

#[test]
fn an_early_answer_fails_the_rule_that_agencies_wait_for_the_last_one() {
    each(dialects_that(|dialect| dialect.waits_for_draw), |dialect| {
        let report = report(dialect.name, &[Fault::AnswersEarly], []);
        let failed = rows(&[], |_| true, &[WAITS]);
        assert_eq!((report.code, report.failed()), (Some(1), failed), "{}", dialect.name);
        let (expected, received) = report.expected_and_received(WAITS);
        assert_eq!(expected, "nothing before agency 1 has finished");
        assert!(received.starts_with("agency 2: "), "{received}");
    });
}

#[test]
fn the_winners_of_other_agencies_fail_the_rule_about_own_winners() {
    each(dialects_that(|dialect| dialect.waits_for_draw), |dialect| {
        let report = report(dialect.name, &[Fault::SendsAllWinners], []);
        let failed = rows(&[], |_| true, &[OWN]);
        assert_eq!((report.code, report.failed()), (Some(1), failed), "{}", dialect.name);
        let (expected, received) = report.expected_and_received(OWN);
        let documents = if dialect.name == "line" { "" } else { " (30001001, 30001004)" };
        assert_eq!(expected, format!("agency 1: 2 winners{documents}"), "{}", dialect.name);
        // 2, 0, 3, 1 and 4.
        assert!(received.starts_with("agency 1: 10 winners"), "{received}");
    });
}

#[test]
fn rules_beyond_the_original_systems_count_only_with_the_beyond_flag() {
    const FAULTS: &[Fault] = &[Fault::CountsNotifications, Fault::AcceptsLateBets];
    each(dialects_that(|dialect| dialect.waits_for_draw), |dialect| {
        let lenient = report(dialect.name, FAULTS, []);
        assert_eq!(
            (lenient.code, lenient.failed()),
            (Some(0), rows(&[], |_| true, &[LATE])),
            "{}",
            dialect.name
        );
        assert_eq!((&lenient.json["failed"], &lenient.json["conforms"]), (&1.into(), &true.into()));
        assert!(lenient.rows().iter().all(|row| row["rule"] != RETURNS && row["rule"] != DISTINCT));

        let strict = report(dialect.name, FAULTS, ["--beyond"]);
        let failed = rows(&[], |_| true, &[DISTINCT, LATE]);
        assert_eq!((strict.code, strict.failed()), (Some(1), failed), "{}", dialect.name);
        let beyond = strict.rows().iter().filter(|row| row["beyond"] == true);
        let beyond: Vec<_> = beyond.filter(|row| row["how"] == "draw").collect();
        assert_eq!(
            beyond.iter().map(|row| &row["rule"]).collect::<Vec<_>>(),
            [DISTINCT, TORN, RETURNS, AGAIN, LATE]
        );
    });
}

#[test]
fn a_missing_total_and_missing_winners_fail_in_a_dialect_without_a_draw() {
    let partial = report("typed", &[Fault::AlwaysInFlight], ["--timeout", "1s"]);
    let rule = "a later query is answered with a total that includes their winners";
    assert_eq!(
        (partial.code, partial.failed()),
        (Some(1), vec![(rule.to_owned(), "concurrent".to_owned())])
    );

    let rule = "a batch with numbers is answered with the bets on the winning number";
    let lenient = report("typed", &[Fault::SendsNoWinners], []);
    assert_eq!(
        (lenient.code, lenient.failed()),
        (Some(0), vec![(rule.to_owned(), "whole".to_owned())])
    );
    assert_eq!(lenient.expected_and_received(rule), ("1 winner (30001001)", "0 winners"));
    assert_eq!(report("typed", &[Fault::SendsNoWinners], ["--beyond"]).code, Some(1));
}

#[test]
fn an_echo_with_extra_bytes_fails() {
    let report = report("echo", &[Fault::Appends(b"!")], []);
    assert_eq!((report.code, report.failed().len()), (Some(1), report.rows().len()));
    let rule = "messages on several connections at the same time are each echoed on their own";
    assert_eq!(
        report.expected_and_received(rule),
        ("\"[CLIENT 1] Message N°1\\n\"", "\"[CLIENT 1] Message N°1\\n!\"")
    );
}

#[test]
fn the_table_has_the_rows_of_the_json_object_and_the_same_exit_code() {
    const FAULTS: &[Fault] = &[Fault::RefusesWith(b"NO"), Fault::AcceptsLateBets];
    let server = || start_fake_server(dialect("sentinel"), FAULTS);
    let (table, object) = (check("sentinel", server(), []), report("sentinel", FAULTS, []));
    assert_eq!((table.code, object.code), (Some(1), Some(1)));
    assert_eq!(table.lines[1], "result  tried         rule");
    let mut lines = table.lines[2..].iter();
    for row in object.rows() {
        let text = |key: &str| row[key].as_str().unwrap();
        let result = if row["passed"] == true { "pass" } else { "FAIL" };
        let mark = if row["beyond"] == true { "[beyond] " } else { "" };
        assert_eq!(
            *lines.next().unwrap(),
            format!("{result}    {:12}  {mark}{}", text("how"), text("rule"))
        );
        if row["passed"] == false {
            let id = format!("          id        {}, {} point", text("id"), row["weight"]);
            assert!(lines.next().unwrap().starts_with(&id), "{id}");
            assert_eq!(*lines.next().unwrap(), format!("          expected  {}", text("expected")));
            assert_eq!(*lines.next().unwrap(), format!("          received  {}", text("came")));
        }
    }
    let (passed, failed) = (&object.json["passed"], &object.json["failed"]);
    let is_uncounted = |row: &&Value| row["passed"] == false && row["beyond"] == true;
    let uncounted = object.rows().iter().filter(is_uncounted).count();
    let note = format!("({uncounted} beyond the original systems, not counted)");
    let grade = &object.json["grade"];
    let points = format!("{} of {} points", grade["points"], grade["of"]);
    let summary = format!("{passed} passed, {failed} failed {note}, {points}");
    assert_eq!(lines.collect::<Vec<_>>(), [&summary]);
    assert!(!table.lines.concat().contains('\x1b'), "no colours");
}

#[test]
fn the_draw_uses_the_given_number_of_agencies() {
    let report = report("framed", &[], ["--agencies", "4", "--timeout", "1s"]);
    assert_eq!((report.code, report.failed()), (Some(1), rows(&[], |_| true, &[OWN, AGAIN, LATE])));
    // Agency 4 has one winner and waits like the others.
    assert_eq!(
        report.expected_and_received(OWN),
        ("agency 1: 2 winners", "agency 1: nothing within 1s")
    );
}

#[test]
fn wrong_usage_is_explained_and_exits_with_2() {
    let refused = |arguments: [&str; 5]| {
        let ended = Setup::new().args(["check"]).args(arguments).finish();
        assert_eq!((ended.code, ended.lines.len()), (Some(2), 0), "{arguments:?}");
        ended.errors
    };
    let errors = refused(["--protocol", "morse", "--timeout", "1s", "h:1"]);
    assert!(errors.contains("morse") && errors.contains(&Dialect::names()), "{errors}");
    for address in ["h", "h:0", "h:65536", ":1", "http://h:1"] {
        let errors = refused(["--protocol", "typed", "--timeout", "1s", address]);
        assert!(errors.contains(address) && errors.contains("host:port"), "{errors}");
    }
    for agencies in ["1", "256", "many"] {
        let errors = refused(["--protocol", "typed", "--agencies", agencies, "h:1"]);
        assert!(errors.contains("--agencies"), "{errors}");
    }
    for timeout in ["0s", "2"] {
        let errors = refused(["--protocol", "typed", "--timeout", timeout, "h:1"]);
        assert!(errors.contains("expected a duration above zero"), "{errors}");
    }
    let errors = refused(["--protocol", "sentinel", "--connection", "per-request", "h:1"]);
    assert_eq!(
        errors,
        "client: --connection per-request is not accepted: sentinel allows auto, kept\n"
    );
    assert_eq!(
        Setup::new().args(["check", "h:1"]).finish().code,
        Some(2),
        "the dialect must be named"
    );
}

#[test]
fn an_unreachable_server_is_reported_in_one_line_and_exits_with_1() {
    let closed = ClosedPort::new();
    let address = closed.address().to_string();
    for form in [None, Some("--json")] {
        let setup = Setup::new().args(["check", "--protocol", "typed", &address]);
        let ended = form.into_iter().fold(setup, |setup, form| setup.args([form])).finish();
        assert_eq!((ended.code, ended.lines.len()), (Some(1), 0));
        assert_eq!(ended.errors.lines().count(), 1, "{}", ended.errors);
        assert!(
            ended.errors.starts_with(&format!("client: {address}: cannot connect: ")),
            "{}",
            ended.errors
        );
    }
}

#[test]
fn a_signal_ends_a_check_at_once() {
    for (signal, code) in [(SIGTERM, 143), (SIGINT, 130)] {
        let server = start_fake_server(dialect("counted"), &[Fault::NeverAnswers]).to_string();
        let setup =
            Setup::new().args(["check", "--protocol", "counted", &server, "--timeout", "1h"]);
        let mut check = setup.start();
        check.wait_for("result  tried");
        check.signal(signal);
        assert_eq!(check.finish_within(PROMPT).code, Some(code));
    }
}
