//! Programs can name what `list.txt` lists and nothing else. To change the public interface, update
//! the list with `UPDATE_SURFACE=1 cargo test -p shm-multiprocessing --test rules` and review the
//! difference.
//!
//! The list is read from the sources, which rustfmt keeps in one form. Only an unstable compiler
//! could print it.

mod items;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::marker::PhantomData;
use std::path::Path;

use multiprocessing::*;

use items::{Item, in_one_line, items, subject};

const LIST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/rules/public_surface/list.txt");

/// The macros that write items that programs can name: implementations for numbers, the table of
/// the kinds of object, and what follows from it: the kinds, the methods of `Plan`, `Segment` and
/// `View`, and the attributes of declarations.
const MACROS: [&str; 8] = [
    "atomic_elements!",
    "macro_rules! kinds",
    "macro_rules! define",
    "macro_rules! additions",
    "macro_rules! handles",
    "macro_rules! views",
    "macro_rules! attribute",
    "macro_rules! declared",
];

/// Sources by their path.
type Sources = BTreeMap<String, String>;

fn sources_in(directory: &Path, sources: &mut Sources) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources_in(&path, sources);
        } else {
            sources.insert(path.to_str().unwrap().to_owned(), fs::read_to_string(&path).unwrap());
        }
    }
}

fn sources() -> Sources {
    let mut sources = Sources::new();
    sources_in(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut sources);
    sources
}

/// Returns the names that `lib.rs` exports.
fn exported(lib: &str) -> BTreeSet<String> {
    let uses = items(lib.lines(), 0).into_iter().map(|item| in_one_line(&item.lines));
    let uses: Vec<_> = uses.filter(|line| line.starts_with("pub use ")).collect();
    let names = uses
        .iter()
        .flat_map(|line| line.rsplit("::").next().unwrap().split(['{', '}', ',', ';', ' ']));
    names.filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// Returns everything that programs can name, by the exported name that it belongs to.
fn surface(sources: &Sources) -> String {
    let lib = sources.iter().find(|(path, _)| path.ends_with("/lib.rs")).unwrap().1;
    let exported = exported(lib);
    let mut surface: BTreeMap<_, Vec<_>> =
        exported.iter().map(|name| (name.clone(), Vec::new())).collect();
    let modules = items(lib.lines(), 0);
    for module in
        modules.iter().filter(|item| item.is_public() && item.head().starts_with("pub mod"))
    {
        let attributes = module.attributes.join(" ");
        surface
            .entry("modules".to_owned())
            .or_default()
            .push(format!("    {attributes} {}", module.head()));
    }
    let all: Vec<_> =
        sources.values().map(|source| items(until_tests(source).lines(), 0)).collect();
    let private = |item: &&Item| !item.is_public() && item.head().contains("trait ");
    let private: BTreeSet<_> =
        all.iter().flatten().filter(private).filter_map(Item::defines).collect();
    for items in &all {
        // Another item of the same name, which is not exported.
        let hidden: BTreeSet<_> =
            items.iter().filter(|item| !item.is_public()).filter_map(Item::defines).collect();
        for item in items {
            let head = item.head();
            if let Some((of, subject)) = subject(&head) {
                let of_ours = of.as_ref().is_some_and(|of| exported.contains(of));
                let seen = exported.contains(&subject) && !hidden.contains(&subject) || of_ours;
                if seen && !of.as_ref().is_some_and(|of| private.contains(of)) {
                    let name = if of_ours { of.as_ref().unwrap() } else { &subject };
                    surface.entry(name.clone()).or_default().extend(block(item, of.is_some()));
                }
            } else if let Some(name) =
                item.defines().filter(|name| item.is_public() && exported.contains(name))
            {
                surface.entry(name).or_default().extend(definition(item));
            } else if head.starts_with("pub use shm_") || MACROS.contains(&head.as_str()) {
                let line = format!("    {}", in_one_line(&item.lines));
                surface.entry("macros".to_owned()).or_default().push(line);
            }
        }
    }
    let paragraph =
        |(name, lines): (String, Vec<String>)| format!("{name}\n{}\n", lines.join("\n"));
    surface.into_iter().map(paragraph).collect::<Vec<_>>().join("\n")
}

fn until_tests(source: &str) -> &str {
    source.split("\n#[cfg(test)]\n").next().unwrap()
}

/// Returns an `impl` with what programs see in it. For a trait, that is everything except the
/// bodies.
fn block(item: &Item, of_trait: bool) -> Vec<String> {
    let seen: Vec<_> = item
        .inner()
        .into_iter()
        .filter(|inner| if of_trait { !inner.head().starts_with("fn ") } else { inner.is_public() })
        .map(|inner| format!("        {}{}", inner.attributes(), inner.head()))
        .collect();
    if seen.is_empty() && !of_trait {
        return seen;
    }
    [vec![format!("    {}{}", item.attributes(), item.head())], seen].concat()
}

/// Returns a type, a trait, a function or a constant, with what programs see in it.
fn definition(item: &Item) -> Vec<String> {
    let head = item.head();
    let (is_structure, is_function) = (head.contains("struct "), head.contains("fn "));
    let mut lines = vec![format!(
        "    {}{}",
        item.attributes(),
        if is_structure { fields(&head) } else { head }
    )];
    if !is_function {
        let seen = item.inner().into_iter().filter(|inner| !is_structure || inner.is_public());
        lines.extend(
            seen.map(|inner| {
                format!("        {}{}", inner.attributes(), in_one_line(&inner.lines))
            }),
        );
    }
    lines
}

/// Returns the head of a structure, without the types of private tuple fields.
fn fields(head: &str) -> String {
    match head.split_once('(') {
        Some((name, types)) if !types.contains("pub ") => format!("{name}(..)"),
        _ => head.to_owned(),
    }
}

#[test]
fn programs_can_name_what_is_listed_and_nothing_else() {
    let surface = surface(&sources());
    let empty = surface
        .lines()
        .zip(surface.lines().skip(1))
        .find(|(name, first)| !name.is_empty() && first.is_empty() && !name.starts_with(' '));
    assert_eq!(empty, None, "exported, and found nowhere");
    if std::env::var_os("UPDATE_SURFACE").is_some() {
        fs::write(LIST, &surface).unwrap();
    }
    let listed = fs::read_to_string(LIST).unwrap();
    let (new, old): (BTreeSet<_>, BTreeSet<_>) =
        (surface.lines().collect(), listed.lines().collect());
    let more: Vec<_> = new.difference(&old).collect();
    let fewer: Vec<_> = old.difference(&new).collect();
    assert!(surface == listed, "not in {LIST}: {more:#?}\nonly there: {fewer:#?}");
}

#[test]
fn the_list_changes_if_and_only_if_programs_can_see_the_change() {
    let cases = [
        (true, "pub fn is_set(&self)", "pub fn is_it_set(&self)"),
        (true, "    pub fn len(&self) -> usize {", "    pub fn len(&self) -> u64 {"),
        (
            true,
            "        timeout: Duration,\n    ) -> Result<Option<ArrayGuard",
            "        timeout: u64,\n    ) -> Result<Option<ArrayGuard",
        ),
        (true, "    fn word(&self)", "    pub fn word(&self)"),
        (true, "pub use sync::event::Event;", "pub use sync::event::Event as Flag;"),
        (true, "pub use sync::event::Event;", "pub use sync::event::{Deadline, Event};"),
        (true, "\nmod sync;", "\npub mod sync;"),
        (true, "    NoSpace {", "    TooFull {"),
        (
            true,
            "        /// Bytes that the plan needs.\n        bytes: usize,",
            "        bytes: u32,",
        ),
        (
            true,
            "#[derive(Clone, Copy, Debug, PartialEq, Eq)]\npub enum Outcome",
            "#[derive(Clone)]\npub enum Outcome",
        ),
        (true, "#[non_exhaustive]\npub enum PoolEvent", "pub enum PoolEvent"),
        (true, "    fn repair(&mut self, slot: usize, exit: Exit) -> RepairOutcome;", ""),
        (true, "pub const CANNOT_SERVE: i32 = 3;", "pub const CANNOT_SERVE: i32 = 4;"),
        (true, "impl fmt::Display for Event {", "impl fmt::Binary for Event {"),
        (true, "    pub grace: Duration,", "    grace: Duration,"),
        (true, "    u8, AtomicU8, U8;", ""),
        (true, "1: lock::Lock, Lock, lock();", "1: lock::Lock, Lock, mutex();"),
        (true, "self, name: &str $(, $size: $size_type)?", "self, name: String"),
        (true, "    (parties) => {\n        Parties", "    (parties) => {\n        Units"),
        (true, "unsafe impl Shareable for f64 {", "unsafe impl Shareable for char {"),
        (true, "    type Target = Semaphore;", "    type Target = Self;"),
        (true, "pub struct Permit {", "pub struct Permit<'a> {"),
        (false, "    fn word(&self)", "    pub(crate) fn word(&self)"),
        (false, "    place: Place,\n}", "    place: Box<Place>,\n}"),
        (false, "/// Returns true if it is set now.", "/// Returns true if it was set."),
        (false, "pub(super) enum Outcome {", "pub(super) enum Outcome {\n    Perhaps,"),
        (false, "    pub fn forget(mut self) {", "    pub fn forget(self) {"),
        (
            false,
            "impl MarkConsistent for LockGuard<'_> {",
            "impl MarkConsistent for &LockGuard<'_> {",
        ),
    ];
    let sources = sources();
    let before = surface(&sources);
    for (noticed, old, new) in cases {
        let is_there = |source: &&String| source.contains(old);
        assert!(sources.values().any(|source| is_there(&source)), "no source has {old:?}");
        let change =
            |(path, source): (&String, &String)| (path.clone(), source.replacen(old, new, 1));
        let after = surface(&sources.iter().map(change).collect());
        assert_eq!(before != after, noticed, "{old:?} to {new:?}");
    }
}

/// Tells if a type is `Send` and `Sync`: where the bounds hold, an inherent constant takes
/// precedence over that of the trait.
struct Is<T>(PhantomData<T>);

trait Otherwise {
    const SEND: bool = false;
    const SYNC: bool = false;
}

impl<T> Otherwise for Is<T> {}

impl<T: Send> Is<T> {
    const SEND: bool = true;
}

impl<T: Sync> Is<T> {
    const SYNC: bool = true;
}

macro_rules! threads {
    ($($type:ty),*) => {[$((stringify!($type), Is::<$type>::SEND, Is::<$type>::SYNC)),*]};
}

#[test]
fn handles_can_move_to_other_threads_and_guards_cannot() {
    let handles = threads!(
        Array<u8>,
        Barrier,
        BoundedSemaphore,
        Condition,
        Event,
        Lock,
        Permit,
        Plan,
        Pool,
        Process,
        Queue<u8>,
        RLock,
        RawArray<u8>,
        RawValue<u8>,
        Segment,
        Semaphore,
        Value<u8>,
        SegmentError,
        SpawnError,
        PoolError
    );
    assert!(handles.iter().all(|(_, send, sync)| *send && *sync), "{handles:?}");
    let guards = threads!(
        LockGuard,
        RLockGuard,
        ValueGuard<u8>,
        ArrayGuard<u8>,
        Inherited<LockGuard>,
        LockError<LockGuard>
    );
    assert!(guards.iter().all(|(_, send, _)| !send), "{guards:?}");
}
