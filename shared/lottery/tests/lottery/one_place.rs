//! Checks that only a dialect's own file and the table name the dialect, so that adding a dialect
//! touches nothing else.

use std::fs;
use std::path::{Path, PathBuf};

use lottery::protocol::DIALECTS;

/// Other files that may name a dialect: path, dialect (empty for any), reason.
const EXCEPTIONS: [(&str, &str, &str); 8] = [
    ("shared/lottery/src/protocol.rs", "", "the table"),
    (
        "client/src/messages.rs",
        "echo",
        "its messages are not bets, so the agency has no codec for them",
    ),
    ("client/src/check/concurrent.rs", "echo", "the same"),
    ("client/src/bench/batch.rs", "echo", "the same"),
    ("client/src/spy/replies.rs", "echo", "the same"),
    ("client/src/config/table.rs", "typed", "the default"),
    ("server/src/config/table.rs", "typed", "the default, and the example of a list"),
    ("server/src/config/table.rs", "echo", "the example of a list"),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// Collects the Rust files below a directory.
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

/// Returns the code of a file without comments and unit tests.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let code = text.split("#[cfg(test)]").next().unwrap();
    let lines = code.lines().map(|line| line.split("//").next().unwrap());
    lines.collect::<Vec<_>>().join("\n")
}

/// Returns true if code names a dialect: by its module or in a string.
fn names_dialect(code: &str, name: &str) -> bool {
    let module = name.split('-').next().unwrap();
    let module_used = [format!("{module}::"), format!("::{module};"), format!("mod {module};")];
    let name_quoted = [format!("\"{name}\""), format!("\"{name}:"), format!(",{name}:")];
    let is_word_before =
        |at: usize| code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
    let used = |part: &String| code.match_indices(part.as_str()).any(|(at, _)| !is_word_before(at));
    module_used.iter().any(used) || name_quoted.iter().any(|part| code.contains(part.as_str()))
}

#[test]
fn only_its_own_files_and_the_table_name_a_dialect() {
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
            if relative.starts_with(&own) || !names_dialect(&code, dialect.name) {
                continue;
            }
            let excepted = EXCEPTIONS
                .iter()
                .position(|(file, name, _)| *file == relative && [dialect.name, ""].contains(name));
            match excepted {
                Some(exception) => used.push(exception),
                None => panic!("{relative} names the dialect {}", dialect.name),
            }
        }
    }
    for (index, (file, name, why)) in EXCEPTIONS.iter().enumerate() {
        assert!(used.contains(&index), "{file} no longer needs the exception for {name:?} ({why})");
    }
}

#[test]
fn every_dialect_has_one_row_one_module_and_rules() {
    let table = fs::read_to_string(root().join("shared/lottery/src/protocol.rs")).unwrap();
    let rows = table.split("pub const DIALECTS").nth(1).unwrap().split("];").next().unwrap();
    for dialect in DIALECTS {
        let module = dialect.name.split('-').next().unwrap();
        assert!(
            table.contains(&format!("pub mod {module};")),
            "{module} is not declared beside the table"
        );
        assert!(rows.contains(&format!("{module}::")), "{module} has no row");
        assert!(!(dialect.rules)().is_empty(), "{} has no rules", dialect.name);
        let mut ids: Vec<_> = (dialect.rules)().iter().map(|rule| rule.id).collect();
        let is_plain =
            |id: &&str| id.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'));
        assert!(ids.iter().all(is_plain), "{}: {ids:?}", dialect.name);
        let all = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), all, "{}: two rules have one identifier", dialect.name);
        assert!(
            !dialect.connections.is_empty(),
            "{} lists no way to use connections",
            dialect.name
        );
    }
    let names: std::collections::BTreeSet<_> =
        DIALECTS.iter().map(|dialect| dialect.name).collect();
    assert_eq!(names.len(), DIALECTS.len(), "names are not unique");
    assert_eq!(rows.matches("::").count(), DIALECTS.len(), "not one row per dialect");
}
