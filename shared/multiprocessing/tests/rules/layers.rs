//! The layers of the library are folders of `src`, and no import goes to a higher layer or in a
//! cycle. Test modules are exempt: they may use the library as a program does.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// The layers from the lowest to the highest. Modules of one row may use each other, without
/// cycles.
const LAYERS: [&[&str]; 6] =
    [&["sys"], &["memory"], &["sync"], &["segment"], &["process", "pipe"], &["pool", "task_pool"]];

/// Code of each source without comments and test modules, by its path below `src`.
type Sources = BTreeMap<String, String>;

fn read(directory: &Path, root: &Path, sources: &mut Sources) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read(&path, root, sources);
            continue;
        }
        let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
        sources.insert(name, code(&fs::read_to_string(&path).unwrap()));
    }
}

/// Returns the sources of the layers. The root of the crate only exports.
fn sources() -> Sources {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut sources = Sources::new();
    read(&root, &root, &mut sources);
    sources.retain(|name, _| name != "lib.rs" && name != "guide.rs");
    sources
}

fn code(source: &str) -> String {
    let source = source.split("\n#[cfg(test)]\nmod ").next().unwrap();
    source.lines().map(|line| line.split("//").next().unwrap()).collect::<Vec<_>>().join("\n")
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

/// Returns the first two parts of a module path, such as `sys` and `fork`.
fn module(path: &str, separator: &str) -> (String, String) {
    let mut parts = path.split(separator).map(str::to_owned);
    (parts.next().unwrap_or_default(), parts.next().unwrap_or_default())
}

/// Returns what follows each `crate::`, up to the end of the path. At the end of a string it is
/// part of a link in the documentation that a macro writes. `$crate::` is for other crates.
fn paths(code: &str) -> impl Iterator<Item = &str> {
    let end = |char: char| !char.is_alphanumeric() && char != '_' && char != ':';
    let places = code.match_indices("crate::").filter(|(at, _)| !code[..*at].ends_with('$'));
    let rests = places.map(|(at, found)| &code[at + found.len()..]);
    let rests = rests.filter(|rest| !rest.starts_with('"'));
    rests.map(move |rest| rest.split(end).next().unwrap())
}

/// Returns one line for each import that does not point to the same or a lower layer.
fn upward(sources: &Sources) -> Vec<String> {
    let mut wrong = Vec::new();
    for (name, code) in sources {
        let (from, _) = module(name.trim_end_matches(".rs"), "/");
        let Some(own) = layer(&from) else {
            wrong.push(format!("{name} is in no layer"));
            continue;
        };
        for path in paths(code) {
            match layer(&module(path, "::").0) {
                Some(to) if to <= own => {}
                Some(_) => wrong.push(format!("{name} imports crate::{path} from a higher layer")),
                None => wrong.push(format!("{name} imports crate::{path}, which names no layer")),
            }
        }
        let above = format!("use {}", "super::".repeat(name.matches('/').count() + 1));
        let around = [above.as_str(), "use multiprocessing::"];
        if code.lines().any(|line| around.iter().any(|start| line.starts_with(start))) {
            wrong.push(format!("{name} goes around the layers through the root of the crate"));
        }
    }
    wrong
}

/// Returns the modules that are in a cycle of imports or depend on one, if there are any.
fn cycle(sources: &Sources) -> Option<Vec<String>> {
    let mut imports: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let name = |(layer, module): (String, String), modules: &BTreeSet<String>| {
        let inner = format!("{layer}/{module}");
        if modules.contains(&inner) { inner } else { layer }
    };
    let modules: BTreeSet<String> =
        sources.keys().map(|path| path.trim_end_matches(".rs").to_owned()).collect();
    for (path, code) in sources {
        let from = name(module(path.trim_end_matches(".rs"), "/"), &modules);
        let to = paths(code).map(|path| name(module(path, "::"), &modules));
        imports.entry(from.clone()).or_default().extend(to.filter(|to| *to != from));
    }
    // A module that imports only modules without cycles is in none itself.
    while let Some(done) = imports
        .iter()
        .find(|(_, to)| to.iter().all(|to| !imports.contains_key(to)))
        .map(|(from, _)| from.clone())
    {
        imports.remove(&done);
    }
    (!imports.is_empty()).then(|| imports.into_keys().collect())
}

#[test]
fn no_module_imports_from_a_higher_layer() {
    assert_eq!(upward(&sources()), Vec::<String>::new());
}

#[test]
fn no_imports_go_in_a_cycle() {
    assert_eq!(cycle(&sources()), None);
}

#[test]
fn a_planted_import_is_found() {
    for (file, line) in [
        ("sys/fork.rs", "use crate::sync::barrier::leave_all;"),
        ("memory/layout.rs", "use crate::sync::participant::Row;"),
        ("sync/mutex.rs", "fn f() { crate::process::Process::fork(|| 0); }"),
        ("segment/inspect.rs", "use crate::{Lock, pool::Pool};"),
        ("pipe.rs", "use crate::Segment;"),
        ("sys/futex.rs", "use super::super::sync::lock::Lock;"),
        ("process.rs", "use super::pool::Pool;"),
    ] {
        let mut sources = sources();
        let source = sources.get_mut(file).unwrap();
        *source = format!("{line}\n{source}");
        assert!(!upward(&sources).is_empty(), "{line} in {file}");
    }
    for (file, line) in [
        ("sys/name.rs", "use crate::sys::proc::attached;"),
        ("sync/lock.rs", "use crate::sync::record::Record;"),
        ("pipe.rs", "use crate::process::Process;"),
    ] {
        let mut sources = sources();
        sources.get_mut(file).unwrap().push_str(&format!("\n{line}"));
        assert!(upward(&sources).is_empty() && cycle(&sources).is_some(), "{line} in {file}");
    }
}

#[test]
fn comments_and_tests_are_exempt() {
    let source =
        "use crate::sys::fork;\n// crate::pool\n#[cfg(test)]\nmod tests { use crate::Pool; }";
    assert_eq!(code(source), "use crate::sys::fork;\n");
}
