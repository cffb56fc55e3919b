//! Copies the sources that run under loom. Changes one of them if `MUTATION` names a change that a
//! model must notice.

use std::path::{Path, PathBuf};
use std::{env, fs};

/// The modules, by the file that declares them, with their sources in the library.
const MODULES: [(&str, &[&str]); 3] = [
    ("sync", &["sync/copies.rs", "sync/record.rs", "sync/primitive.rs"]),
    (
        "queue",
        &[
            "sync/queue/counts.rs",
            "sync/queue/error.rs",
            "sync/queue/iter.rs",
            "sync/queue/ring.rs",
            "sync/queue/waits.rs",
        ],
    ),
    ("task_pool", &["task_pool/progress.rs"]),
];

/// A change that makes an algorithm wrong.
struct Mutation {
    /// The model that must fail, and a number.
    name: &'static str,
    source: &'static str,
    from: &'static str,
    to: &'static str,
}

const fn mutation(
    name: &'static str,
    source: &'static str,
    from: &'static str,
    to: &'static str,
) -> Mutation {
    Mutation { name, source, from, to }
}

const MUTATIONS: [Mutation; 13] = [
    mutation(
        "copies-1",
        "sync/copies.rs",
        "version.store(next, Ordering::Release)",
        "version.store(next, Ordering::Relaxed)",
    ),
    mutation("copies-2", "sync/copies.rs", "fence(Ordering::Release);", ""),
    mutation("copies-3", "sync/copies.rs", "fence(Ordering::Acquire);", ""),
    mutation(
        "copies-4",
        "sync/copies.rs",
        "let before = version.load(Ordering::Acquire)",
        "let before = version.load(Ordering::Relaxed)",
    ),
    mutation(
        "copies-5",
        "sync/copies.rs",
        "write(self.copy(next));",
        "write(self.copy(next + 1));",
    ),
    mutation(
        "ring-4",
        "sync/record.rs",
        "if word(copy, steady).load(Ordering::Relaxed) == before {",
        "if word(copy, steady).load(Ordering::Relaxed) >= before {",
    ),
    mutation(
        "record-2",
        "sync/record.rs",
        "write_words(copy, ROWS_WORD, &(state.rows.len() as u64));",
        "",
    ),
    mutation("ring-1", "sync/queue/waits.rs", "self.announce(wakes, side.other().bits());", ""),
    mutation("ring-2", "sync/record.rs", "self.announced().fetch_add(1, Ordering::AcqRel);", ""),
    mutation(
        "ring-3",
        "sync/queue/waits.rs",
        "held.set_waits(numbers.waits().with_one_more(side));",
        "",
    ),
    mutation(
        "progress-1",
        "task_pool/progress.rs",
        "fetch_max(message, Ordering::Release) < message",
        "fetch_max(message, Ordering::Relaxed) < message",
    ),
    mutation(
        "progress-2",
        "task_pool/progress.rs",
        "word(&self.0, SETTLED).fetch_max(last_sent, Ordering::Acquire)",
        "{ let old = self.settled(); word(&self.0, SETTLED).store(last_sent, Ordering::Release); old }",
    ),
    mutation(
        "progress-3",
        "task_pool/progress.rs",
        "word(&self.0, SETTLED).load(Ordering::Acquire)",
        "word(&self.0, SETTLED).load(Ordering::Relaxed)",
    ),
];

fn main() {
    println!("cargo::rerun-if-env-changed=MUTATION");
    println!("cargo::rerun-if-changed=build.rs");
    let library = Path::new(env!("CARGO_MANIFEST_DIR")).join("../src");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let chosen = env::var("MUTATION").ok();
    let names: Vec<_> = MUTATIONS.iter().map(|mutation| mutation.name).collect();
    println!("cargo::rustc-env=MUTATIONS={}", names.join(" "));
    assert!(chosen.iter().all(|name| names.contains(&name.as_str())), "no such mutation");
    for (declaring, sources) in MODULES {
        let mut declarations = String::new();
        for source in sources {
            let path = library.join(source);
            println!("cargo::rerun-if-changed={}", path.display());
            let mut code = fs::read_to_string(&path).expect("the library has this source");
            for mutation in MUTATIONS.iter().filter(|mutation| mutation.source == *source) {
                let times = code.matches(mutation.from).count();
                assert_eq!(times, 1, "{} does not apply to {source}", mutation.name);
            }
            let applied =
                MUTATIONS.iter().find(|mutation| Some(mutation.name) == chosen.as_deref());
            if let Some(mutation) = applied.filter(|mutation| mutation.source == *source) {
                code = code.replace(mutation.from, mutation.to);
            }
            let copy = out.join(source.replace('/', "_"));
            fs::write(&copy, code).expect("OUT_DIR is writable");
            let name = Path::new(source).file_stem().expect("it has a name").display();
            declarations += &format!("#[path = {copy:?}]\npub(crate) mod {name};\n");
        }
        fs::write(out.join(format!("{declaring}.rs")), declarations).expect("OUT_DIR is writable");
    }
}
