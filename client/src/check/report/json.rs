//! The report as one JSON object. Its keys are stable, because scripts read them.

use clap::ValueEnum;
use serde_json::{Map, Value, json};

use super::super::rule::Group;
use super::{Grade, Report};

/// Returns the object.
pub(super) fn object(report: &Report) -> String {
    let settings = &report.settings;
    let failed = report.failed();
    let groups: Map<_, _> = Group::value_variants()
        .iter()
        .map(|group| (group.name().to_owned(), grade(report.grade(Some(*group)))))
        .collect();
    let object = json!({
        "protocol": settings.protocol,
        "address": settings.address,
        "passed": report.rows.len() - failed,
        "failed": failed,
        "conforms": report.conforms(),
        "grade": grade(report.grade(None)),
        "groups": groups,
        "stopped": report.stopped.as_ref().map(|obstacle| json!({
            "why": obstacle.kind(),
            "message": obstacle.to_string(),
            "not_tried": report.rules_not_tried(),
        })),
        "rules": (0..report.rows.len()).map(|index| row(report, index)).collect::<Vec<_>>(),
    });
    format!("{object:#}\n")
}

fn grade(Grade { reached, of }: Grade) -> Value {
    json!({ "points": reached, "of": of })
}

fn row(report: &Report, index: usize) -> Value {
    let row = &report.rows[index];
    let (planned, violation) = (&row.planned, row.violation.as_ref());
    json!({
        "id": report.id(planned),
        "group": planned.group.name(),
        "weight": report.points(planned),
        "rule": planned.rule,
        "how": planned.method.name(),
        "beyond": planned.beyond,
        "passed": violation.is_none(),
        "expected": violation.map(|violation| &violation.expected),
        "came": violation.map(|violation| &violation.received.text),
        "diagnosis": report.diagnosis(index).map(|diagnosis| json!({
            "cause": diagnosis.cause.name(),
            "text": diagnosis.text,
            "sent": diagnosis.sent(),
            "received": diagnosis.received(),
        })),
    })
}
