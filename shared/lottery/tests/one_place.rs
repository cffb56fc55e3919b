//! A dialect is known in one place: its own file, and its row in the table. So adding one touches nothing else.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

use lottery::protocol::DIALECTS;

/// Where a dialect may be spoken of by name besides, and why.
const EXCEPTIONS: [(&str, &str, &str); 6] = [
    ("shared/lottery/src/protocol.rs", "", "the table"),
    (
        "client/src/messages.rs",
        "echo",
        "its messages are no bets: the agency has no codec for them",
    ),
    ("client/src/check/together.rs", "echo", "the same"),
    ("client/src/config/table.rs", "typed", "the default"),
    ("server/src/config/table.rs", "typed", "the default, and the example of a list"),
    ("server/src/config/table.rs", "echo", "the example of a list"),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// The Rust files below a directory.
fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The code of a file: no comments, no tests.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let code = text.split("#[cfg(test)]").next().unwrap();
    let lines = code.lines().map(|line| line.split("//").next().unwrap());
    lines.collect::<Vec<_>>().join("\n")
}

/// Whether code speaks of a dialect: its module, or its name in a text.
fn speaks_of(code: &str, name: &str) -> bool {
    let module = name.split('-').next().unwrap();
    let module_used = [format!("{module}::"), format!("::{module};"), format!("mod {module};")];
    let name_quoted = [format!("\"{name}\""), format!("\"{name}:"), format!(",{name}:")];
    let is_word_before =
        |at: usize| code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
    let used = |part: &String| code.match_indices(part.as_str()).any(|(at, _)| !is_word_before(at));
    module_used.iter().any(used) || name_quoted.iter().any(|part| code.contains(part.as_str()))
}

#[test]
fn no_source_but_its_own_and_the_table_knows_a_dialect() {
    let root = root();
    let mut files = Vec::new();
    for part in ["server/src", "client/src", "compose/src", "shared/lottery/src"] {
        sources(&root.join(part), &mut files);
    }
    assert!(files.len() > 60, "{} files", files.len());
    let mut used = Vec::new();
    for file in &files {
        let relative = file.strip_prefix(&root).unwrap().to_str().unwrap();
        let code = code(file);
        for dialect in DIALECTS {
            let module = dialect.name.split('-').next().unwrap();
            let own = format!("shared/lottery/src/protocol/{module}");
            if relative.starts_with(&own) || !speaks_of(&code, dialect.name) {
                continue;
            }
            let excepted = EXCEPTIONS
                .iter()
                .position(|(file, name, _)| *file == relative && [dialect.name, ""].contains(name));
            match excepted {
                Some(exception) => used.push(exception),
                None => panic!("{relative} speaks of {}", dialect.name),
            }
        }
    }
    for (index, (file, name, why)) in EXCEPTIONS.iter().enumerate() {
        assert!(
            used.contains(&index),
            "{file} is excepted for {name:?} ({why}) and needs no exception"
        );
    }
}

#[test]
fn every_dialect_has_one_row_a_module_and_rules() {
    let table = fs::read_to_string(root().join("shared/lottery/src/protocol.rs")).unwrap();
    let rows = table.split("pub const DIALECTS").nth(1).unwrap().split("];").next().unwrap();
    for dialect in DIALECTS {
        let module = dialect.name.split('-').next().unwrap();
        assert!(
            table.contains(&format!("pub mod {module};")),
            "{module} is declared beside the table"
        );
        assert!(rows.contains(&format!("{module}::")), "{module} has a row");
        assert!(!(dialect.rules)().is_empty(), "{} has rules", dialect.name);
        assert!(!dialect.connections.is_empty(), "{} says how connections are used", dialect.name);
    }
    let names: std::collections::BTreeSet<_> =
        DIALECTS.iter().map(|dialect| dialect.name).collect();
    assert_eq!(names.len(), DIALECTS.len(), "names are distinct");
    assert_eq!(rows.matches("::").count(), DIALECTS.len(), "a row each");
}
