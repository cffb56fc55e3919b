//! Runs a fuzz target without libFuzzer: over its committed corpus, and over random changes of it.
//! The tests of the crates include this file, so that `make test` runs every target.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Bytes that mean something in most of the formats: ends, separators, quotes, extreme numbers.
const SPECIAL: &[u8] = b"\0\x01\x7f\x80\xff\n\r ,;|\"=:[]#-09";

/// Checks every input in `fuzz/corpus/TARGET`, then `changed` inputs that differ from one of them
/// in a few places. `TEST_SEED` repeats the changes of an earlier run.
pub fn check_corpus(target: &str, changed: usize, check: impl Fn(&[u8])) {
    let inputs = inputs(target);
    for (name, input) in &inputs {
        let _context = OnPanic(format!("{target}: {name}"), input);
        check(input);
    }
    let given = std::env::var("TEST_SEED").ok().and_then(|text| text.parse().ok());
    let seed = given.unwrap_or_else(|| {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
    });
    println!("TEST_SEED={seed} {target}");
    let mut random = Random(seed);
    for _ in 0..changed {
        let (name, input) = &inputs[random.below(inputs.len())];
        let mut input = input.clone();
        (0..=random.below(6)).for_each(|_| change(&mut input, &mut random));
        let _context = OnPanic(format!("{target}: changed {name}"), &input);
        check(&input);
    }
}

/// Returns the name and the bytes of each committed input, in a fixed order.
fn inputs(target: &str) -> Vec<(String, Vec<u8>)> {
    let crate_directory = Path::new(env!("CARGO_MANIFEST_DIR"));
    let corpus = crate_directory.ancestors().map(|parent| parent.join("fuzz/corpus").join(target));
    let corpus: PathBuf = corpus.into_iter().find(|path| path.is_dir()).expect("a corpus");
    let entries = fs::read_dir(&corpus).expect("a readable corpus").flatten();
    let mut inputs: Vec<_> = entries
        .map(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            (name, fs::read(entry.path()).expect("a readable input"))
        })
        .collect();
    inputs.sort();
    assert!(!inputs.is_empty(), "{} is empty", corpus.display());
    inputs
}

/// Changes one place: a bit, a byte, a run of bytes that is removed or repeated.
fn change(input: &mut Vec<u8>, random: &mut Random) {
    let start = random.below(input.len() + 1);
    let end = (start + random.below(16)).min(input.len());
    match random.below(6) {
        0 if start < input.len() => input[start] ^= 1 << random.below(8),
        1 if start < input.len() => input[start] = SPECIAL[random.below(SPECIAL.len())],
        2 => input.insert(start, SPECIAL[random.below(SPECIAL.len())]),
        3 => drop(input.drain(start..end)),
        4 => {
            let copy = input[start..end].to_vec();
            input.splice(start..start, copy);
        }
        _ => input.truncate(input.len() - random.below(input.len() / 8 + 1)),
    }
}

/// Prints the input when a check panics: as hexadecimal digits, because it may hold any byte.
struct OnPanic<'a>(String, &'a [u8]);

impl Drop for OnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let hex: String = self.1.iter().map(|byte| format!("{byte:02x}")).collect();
            println!("{}: {hex}", self.0);
        }
    }
}

/// SplitMix64: the crates that include this file have no random generator in common.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((mixed ^ (mixed >> 31)) % limit as u64) as usize
    }
}
