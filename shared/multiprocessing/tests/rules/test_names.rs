//! The names of the tests below a directory, for pages that name tests.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// The attributes that make a function a test.
const ATTRIBUTES: [&str; 3] = ["#[test]", "#[apply(test)]", "#[apply(soak)]"];

/// Counts the test functions in the sources below a directory by each name that a page can give
/// them: alone, and behind some or all of the modules that they are in. `modules` contain the
/// directory.
pub fn count_tests(directory: &Path, modules: &[String], names: &mut BTreeMap<String, usize>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let stem = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let inside = [modules, &[stem]].concat();
        if path.is_dir() {
            count_tests(&path, &inside, names);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let inside = if path.ends_with("mod.rs") { modules } else { &inside };
            let source = fs::read_to_string(&path).unwrap();
            let mut lines = source.lines().map(str::trim);
            while lines.any(|line| ATTRIBUTES.contains(&line)) {
                let function = lines.find_map(|line| line.strip_prefix("fn "));
                let mut name = function.and_then(|rest| rest.split('(').next()).unwrap().to_owned();
                *names.entry(name.clone()).or_default() += 1;
                for module in inside.iter().rev() {
                    name = format!("{module}::{name}");
                    *names.entry(name.clone()).or_default() += 1;
                }
            }
        }
    }
}
