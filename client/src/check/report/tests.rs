use super::super::row::{Surprise, Symptom, Violation};
use super::super::rule::Method;
use super::*;

const RULE: Planned = Planned {
    id: "a-rule",
    rule: "a rule",
    group: Group::Replies,
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
