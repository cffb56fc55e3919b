//! The most frequent words of files, counted by four processes; the same in Python is beside it.
//! Run it with `cargo run -p shm-multiprocessing --example word_count` and the names of files.

use std::{cmp::Reverse, collections::HashMap, env, error::Error, fs};

use multiprocessing::TaskPool;

fn count(path: String) -> Result<HashMap<String, u64>, String> {
    let text = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
    let mut words = HashMap::new();
    text.split_whitespace().for_each(|word| *words.entry(word.to_owned()).or_default() += 1);
    Ok(words)
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut total: HashMap<String, u64> = HashMap::new();
    for words in TaskPool::new(4)?.imap_unordered(count, env::args().skip(1)) {
        words??.into_iter().for_each(|(word, times)| *total.entry(word).or_default() += times);
    }
    let mut total: Vec<_> = total.into_iter().collect();
    total.sort_by_key(|(word, times)| (Reverse(*times), word.clone()));
    total.iter().take(3).for_each(|(word, times)| println!("{times} {word}"));
    Ok(())
}
