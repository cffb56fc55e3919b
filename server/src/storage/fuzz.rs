//! Fuzz target: whatever the files of the storage hold, a start recovers or refuses.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::OnceLock;

use lottery::BatchKey;

use super::{Drawing, Durability, Group, Judgement, Ledger, Storage, Written, sessions};

/// The files that an input may change. The inputs of the corpus have their positions, so new ones
/// go to the end.
const FILES: [&str; 8] = [
    "journal",
    "bets.csv",
    "winners.log",
    "finished",
    "draw.csv",
    "checkpoints",
    "sessions",
    "winners.idx",
];
/// Files that a start refuses if they are shorter.
const FIXED: [(&str, u64); 2] = [("finished", 1 << 16), ("sessions", sessions::BYTES)];
/// Agency and session of every keyed batch.
const AGENCY: u16 = 1;
const SESSION: [u8; 16] = [7; 16];
/// Offsets that an input can name: the checkpoints and the first records of the journal.
const REACH: u64 = 1 << 15;

/// The content of each of [`FILES`]; `None` if there is no such file.
type State = [Option<Vec<u8>>; FILES.len()];

/// Opens a storage that was changed. The first byte of the input chooses the state before the
/// changes; [`apply`] reads the changes from the rest.
///
/// A storage that opens has files of exactly the length that it counts. It opens again with the
/// same totals and judges batches with keys in the same way. It takes another batch, and holds a
/// draw or names the row that prevents it.
pub fn check(input: &[u8]) {
    let Some((choice, changes)) = input.split_first() else { return };
    let directory = directory();
    let states = states();
    restore(directory.path(), &states[usize::from(*choice) % states.len()]);
    apply(changes, directory.path());
    let Ok((storage, recovery)) = Storage::open(directory.path(), Durability::Process, true) else {
        return;
    };
    let totals = check_lengths(directory.path(), recovery.ledger);
    let judgements = judge(&storage);
    drop(storage);
    let opened = Storage::open(directory.path(), Durability::Process, true);
    let (mut storage, recovery) = opened.expect("what opened once opens again");
    assert_eq!(check_lengths(directory.path(), recovery.ledger), totals);
    assert_eq!(judge(&storage), judgements);
    let next = judgements.iter().position(|judgement| *judgement == Judgement::New);
    let next = keyed(next.expect("a session has a next batch"));
    let (after, refused) =
        storage.append(recovery.ledger, next.all(), 0).expect("another batch is stored");
    assert_eq!(storage.judge(next.all()).expect("sessions"), [Judgement::Repeated]);
    assert!(refused.is_none());
    assert_eq!(check_lengths(directory.path(), after).0, totals.0 + 1);
    let _ = (storage.finished_agencies(), storage.draw_over(&after));
    check_draw(&storage, &after);
}

/// Holds a draw, with the winners that the index names if it can. It finds those that are in all
/// bets, if all of them can be read.
fn check_draw(storage: &Storage, ledger: &Ledger) {
    let draws = [Drawing::of_index, Drawing::of_all_bets].map(|begin| {
        let mut drawing = begin(&storage.files, ledger).expect("a draw begins");
        loop {
            match storage.advance_draw(&mut drawing, 4096) {
                Ok(false) => {}
                Ok(true) => return Some(drawing),
                Err(_) => return None,
            }
        }
    });
    if let [by_index, Some(by_all_bets)] = draws {
        let by_index = by_index.expect("a draw that falls back to all bets");
        assert!(by_index.finds_the_same(&by_all_bets), "{by_index:?}, {by_all_bets:?}");
    }
}

/// Judges batches of the session, each of which could be its next one.
fn judge(storage: &Storage) -> Vec<Judgement> {
    let judge = |number| storage.judge(keyed(number).all()).expect("sessions after a start")[0];
    (0..9).map(judge).collect()
}

/// Checks the files' lengths against the ledger. Returns the batches, bets and winners.
fn check_lengths(directory: &Path, ledger: Ledger) -> (u64, u64, u64) {
    let length = |file: &str| fs::metadata(directory.join(file)).expect("a file").len();
    assert_eq!(length("bets.csv"), ledger.rows_end);
    assert_eq!(length("winners.log"), ledger.lines_end);
    (ledger.batches, ledger.bets, ledger.winners)
}

/// Applies changes: file and kind in one byte, offset in two, length in one, then as many bytes.
fn apply(mut changes: &[u8], directory: &Path) {
    while let [what, low, high, length, rest @ ..] = changes {
        let (bytes, later) = rest.split_at(rest.len().min((*length).into()));
        changes = later;
        let path = directory.join(FILES[usize::from(*what % 32) % FILES.len()]);
        let offset = u64::from(u16::from_le_bytes([*low, *high])) % REACH;
        let file = File::options().read(true).write(true).create(true).truncate(false).open(&path);
        let file = file.expect("an open file");
        match what / 32 {
            0 => file.set_len(offset).expect("a shorter file"),
            1 => fs::remove_file(&path).expect("a removed file"),
            2 => {
                let mut kept = vec![0; bytes.len()];
                let read = file.read_at(&mut kept, offset).expect("a readable file");
                kept.iter_mut().zip(bytes).for_each(|(kept, byte)| *kept ^= byte);
                file.write_all_at(&kept[..read], offset).expect("a written file");
            }
            _ => file.write_all_at(bytes, offset).expect("a written file"),
        }
    }
}

/// The states that an input may begin with: nothing, killed without and with the batches in the
/// journal, after a draw, and both kinds of kill with keyed batches.
fn states() -> &'static [State; 6] {
    static STATES: OnceLock<[State; 6]> = OnceLock::new();
    STATES.get_or_init(|| {
        let killed = |durability, drawn, batch: fn(usize) -> Group| {
            let directory = directory();
            let has_keys = batch(0).all().iter().any(|batch| batch.key.is_some());
            let (mut storage, recovery) =
                Storage::open(directory.path(), durability, has_keys).expect("a new storage");
            let mut ledger = recovery.ledger;
            for number in 0..3 {
                let durable = ledger.records;
                let appended = storage.append(ledger, batch(number).all(), durable);
                ledger = appended.expect("a stored batch").0;
            }
            ledger = storage.finish(ledger, 1, ledger.records).expect("a mark").0;
            if drawn {
                let mut drawing = storage.begin_draw(&ledger).expect("a draw");
                while !storage.advance_draw(&mut drawing, 4096).expect("bets") {}
                storage.write_draw(&drawing).expect("a result");
            }
            FILES.map(|file| fs::read(directory.path().join(file)).ok().map(without_zeros))
        };
        use Durability::{Disk, Process};
        [
            State::default(),
            killed(Process, false, batch),
            killed(Disk, false, batch),
            killed(Disk, true, batch),
            killed(Process, false, keyed),
            killed(Disk, false, keyed),
        ]
    })
}

/// Returns the content without zeros at its end, most of which a start writes again.
fn without_zeros(mut content: Vec<u8>) -> Vec<u8> {
    content.truncate(content.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1));
    content
}

fn restore(directory: &Path, state: &State) {
    for (file, content) in FILES.iter().zip(state) {
        if let Some(content) = content {
            let path = directory.join(file);
            fs::write(&path, content).expect("a written file");
            if let Some((_, length)) = FIXED.iter().find(|(name, _)| name == file) {
                let opened = File::options().write(true).open(&path).expect("an open file");
                opened.set_len(*length).expect("a longer file");
            }
        }
    }
}

/// Returns a batch of three bets, the first of which wins.
fn batch(number: usize) -> Group {
    group(number, None)
}

/// Returns such a batch with a key: the first one of its session has number 0.
fn keyed(number: usize) -> Group {
    let (sequence, content) = (number as u64 + 1, number as u64);
    group(number, Some(BatchKey { session: SESSION, agency: AGENCY, sequence, content }))
}

fn group(number: usize, key: Option<BatchKey>) -> Group {
    let mut group = Group::default();
    let added = group.add(|rows, lines| {
        for bet in 0..3 {
            let played = if bet == 0 { 7574 } else { 1033 };
            let row = format!("{AGENCY},Ana,Lorca,{number}-{bet},1999-03-17,{played}\r\n");
            rows.extend(row.into_bytes());
        }
        let line = "Full name: Ana Lorca | Document: ";
        lines.extend(format!("{line}{number}-0 | Date of Birth: 17/03/1999\n").into_bytes());
        Ok::<_, ()>(Written { bets: 3, winners: vec![0], key })
    });
    added.expect("a batch in memory");
    group
}

/// Returns a directory, in memory if possible, because every check writes and syncs files.
fn directory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a directory")
}

#[cfg(test)]
mod tests {
    use crate::fuzz_corpus::check_corpus;

    #[test]
    fn a_start_recovers_or_refuses_the_corpus_and_changes_of_it() {
        check_corpus("recovery", 300, super::check);
    }
}
