//! The report as JUnit XML. A broken rule that does not count is a skipped test, and one that was
//! not tried is an error.

use std::io;

use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesText, Event};

use super::super::row::Violation;
use super::Report;

/// Returns the document.
pub(super) fn document(report: &Report) -> String {
    let mut out = Vec::new();
    // Writing to memory does not fail.
    let written = write(report, &mut out);
    debug_assert!(written.is_ok(), "{written:?}");
    out.push(b'\n');
    String::from_utf8_lossy(&out).into_owned()
}

fn write(report: &Report, out: &mut Vec<u8>) -> io::Result<()> {
    let not_tried: Vec<_> = match &report.stopped {
        Some(_) => report.not_tried(),
        None => Vec::new(),
    };
    let errors = not_tried.iter().filter(|planned| report.counts(planned)).count();
    let skipped = report.uncounted() + not_tried.len() - errors;
    let counts = [
        ("tests", report.rows.len() + not_tried.len()),
        ("failures", report.failed() - report.uncounted()),
        ("errors", errors),
        ("skipped", skipped),
    ];
    let counts = counts.map(|(name, count)| (name, count.to_string()));
    let counts = counts.each_ref().map(|(name, count)| (*name, count.as_str()));
    let grade = report.grade(None);
    let points = [("points", grade.reached), ("of", grade.of)];
    let settings = &report.settings;
    let name = clean(&format!("loteria-agency check {} {}", settings.protocol, settings.address));

    let mut writer = Writer::new_with_indent(out, b' ', 2);
    writer.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
    let suites = writer.create_element("testsuites").with_attributes(counts);
    suites.write_inner_content(|writer| {
        let suite = writer.create_element("testsuite").with_attribute(("name", &*name));
        suite.with_attributes(counts).write_inner_content(|writer| {
            writer.create_element("properties").write_inner_content(|writer| {
                for (name, value) in points {
                    let property = writer.create_element("property");
                    let property = property.with_attribute(("name", name));
                    property.with_attribute(("value", &*value.to_string())).write_empty()?;
                }
                Ok(())
            })?;
            (0..report.rows.len()).try_for_each(|index| write_row(report, index, writer))?;
            for planned in not_tried {
                let case = case(report, planned);
                let why = report.stopped.as_ref().map(ToString::to_string).unwrap_or_default();
                let element = writer.create_element("testcase").with_attributes(case.attributes());
                element.write_inner_content(|writer| {
                    let kind = if report.counts(planned) { "error" } else { "skipped" };
                    let result = writer.create_element(kind);
                    let message = clean(&format!("not tried: {why}"));
                    result.with_attribute(("message", &*message)).write_empty().map(drop)
                })?;
            }
            Ok(())
        })?;
        Ok(())
    })?;
    Ok(())
}

fn write_row(report: &Report, index: usize, writer: &mut Writer<&mut Vec<u8>>) -> io::Result<()> {
    let row = &report.rows[index];
    let case = case(report, &row.planned);
    let element = writer.create_element("testcase").with_attributes(case.attributes());
    let Some(Violation { expected, received }) = &row.violation else {
        return element.write_empty().map(drop);
    };
    let diagnosis = report.diagnosis(index);
    let (kind, message) = match report.counts(&row.planned) {
        true => ("failure", row.planned.rule.to_owned()),
        false => ("skipped", format!("beyond the original systems; broken: {}", row.planned.rule)),
    };
    let mut text = format!("expected: {expected}\nreceived: {}\n", received.text);
    for line in diagnosis.iter().flat_map(|diagnosis| diagnosis.lines()) {
        text += &format!("{line}\n");
    }
    element.write_inner_content(|writer| {
        let result = writer.create_element(kind).with_attribute(("message", &*clean(&message)));
        let result = match &diagnosis {
            Some(diagnosis) if kind == "failure" => {
                result.with_attribute(("type", diagnosis.cause.name()))
            }
            _ => result,
        };
        result.write_text_content(BytesText::new(&clean(&text))).map(drop)
    })?;
    Ok(())
}

/// The attributes of a test.
struct Case {
    name: String,
    class: String,
}

impl Case {
    fn attributes(&self) -> [(&str, &str); 2] {
        [("name", &self.name), ("classname", &self.class)]
    }
}

fn case(report: &Report, planned: &super::Planned) -> Case {
    let class = format!("{}.{}", report.settings.protocol, planned.group.name());
    Case { name: report.id(planned), class }
}

/// Replaces the characters that XML does not allow.
fn clean(text: &str) -> String {
    let is_allowed = |c: char| !c.is_control() || matches!(c, '\n' | '\t');
    text.chars().map(|c| if is_allowed(c) { c } else { '\u{fffd}' }).collect()
}
