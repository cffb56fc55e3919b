//! Every primitive has a soak. Every soak has a file of its own, whose name is its name in `make
//! soak`.

use std::fs;

/// What processes use besides the objects of a segment.
const PROCESSES: [&str; 7] =
    ["listener", "pipe", "pool", "process", "segment", "spawn", "task_pool"];

#[test]
fn every_primitive_has_a_soak_and_every_file_of_the_soaks_has_exactly_one() {
    let files = fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/soaks")).unwrap();
    let paths = files.map(|file| file.unwrap().path());
    let is_soak = |name: &str| !["main", "long_form"].contains(&name);
    let mut soaks = Vec::new();
    for path in paths.filter(|path| is_soak(path.file_stem().unwrap().to_str().unwrap())) {
        let source = fs::read_to_string(&path).unwrap();
        assert_eq!(source.matches("\n#[apply(soak)]\n").count(), 1, "{}", path.display());
        soaks.push(path.file_stem().unwrap().to_str().unwrap().to_owned());
    }
    assert!(PROCESSES.into_iter().all(|name| soaks.iter().any(|soak| soak == name)), "{soaks:?}");
    // A row of the table of the kinds starts with a number, and ends with the name of a method.
    let kinds = include_str!("../../src/memory/layout/kind.rs");
    let rows = kinds.lines().map(str::trim).filter(|line| line.starts_with(char::is_numeric));
    let mut methods = 0;
    for method in rows.filter_map(|row| row.split(", ").find(|part| part.contains('('))) {
        let (method, _) = method.split_once('(').unwrap();
        // The soak `raw` is that of `raw_value` and `raw_array`.
        let is_for = |soak: &String| method == soak || method.starts_with(&format!("{soak}_"));
        assert!(soaks.iter().any(is_for), "{method} has no soak");
        methods += 1;
    }
    assert!(methods >= 14, "only {methods}");
}
