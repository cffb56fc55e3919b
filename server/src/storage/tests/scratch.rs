//! A storage of a test: its files, batches for it, and what is stored.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use lottery::{BatchKey, Bet, is_winner, write_rows, write_winner_line};

use crate::storage::files::Files;
use crate::storage::journal::checkpoint::Run;
use crate::storage::{
    Drawing, Durability, FileError, Group, Ledger, Recovery, Storage, StorageError, Written,
};

/// The two durabilities.
pub const BOTH: [Durability; 2] = [Durability::Disk, Durability::Process];
/// The boot during which a test runs.
const BOOT: u64 = 7;

/// A directory in memory, so that syncs cost nothing.
#[derive(Debug)]
pub struct Scratch(tempfile::TempDir);

/// The contents of files, by name.
pub type Contents = BTreeMap<String, Vec<u8>>;

impl Scratch {
    pub fn new() -> Self {
        let memory = Path::new("/dev/shm");
        let place = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        Self(tempfile::tempdir_in(place).unwrap())
    }

    pub fn directory(&self) -> &Path {
        self.0.path()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn open(&self, durability: Durability) -> Result<(Storage, Recovery), StorageError> {
        Storage::open_on(self.0.path(), Run { durability, boot: BOOT, sessions: false })
    }

    /// Opens the storage for batches with keys.
    pub fn open_keyed(&self, durability: Durability) -> Result<(Storage, Recovery), StorageError> {
        Storage::open_on(self.0.path(), Run { durability, boot: BOOT, sessions: true })
    }

    /// Opens the storage after the machine was started again.
    pub fn open_after_reboot(&self, durability: Durability) -> (Storage, Recovery) {
        self.try_open_after_reboot(durability).unwrap()
    }

    pub fn try_open_after_reboot(
        &self,
        durability: Durability,
    ) -> Result<(Storage, Recovery), StorageError> {
        Storage::open_on(self.0.path(), Run { durability, boot: BOOT + 1, sessions: false })
    }

    /// Returns the contents of all files, but for the one that is only locked.
    pub fn contents(&self) -> Contents {
        let files = fs::read_dir(self.0.path()).unwrap().map(|file| file.unwrap().path());
        let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
        let files = files.filter(|path| path.file_name().unwrap() != "lock");
        files.map(|path| (name(&path), fs::read(path).unwrap())).collect()
    }

    /// Makes the directory hold exactly these files.
    pub fn restore(&self, contents: &Contents) {
        for (name, bytes) in self.contents() {
            match contents.get(&name) {
                Some(wanted) if *wanted == bytes => {}
                Some(wanted) => fs::write(self.path(&name), wanted).unwrap(),
                None => fs::remove_file(self.path(&name)).unwrap(),
            }
        }
        for (name, bytes) in contents {
            if !self.path(name).exists() {
                fs::write(self.path(name), bytes).unwrap();
            }
        }
    }

    pub fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    /// Returns the names of the copies of what was cut off.
    pub fn copies(&self) -> Vec<String> {
        self.contents().into_keys().filter(|name| name.contains(".cut-")).collect()
    }
}

/// Adds a batch of this many bets, the first of which wins.
pub fn add(group: &mut Group, agency: u16, name: &str, bets: usize, key: Option<BatchKey>) {
    let added = group.add(|rows, lines| {
        for bet in 0..bets {
            let number = if bet == 0 { 7574 } else { 1033 };
            let row = format!("{agency},Ana,Paz,{name}-{bet},1999-03-17,{number}\r\n");
            rows.extend(row.into_bytes());
        }
        let winners: Vec<_> = (0..bets.min(1)).collect();
        if !winners.is_empty() {
            let line =
                format!("Full name: Ana Paz | Document: {name}-0 | Date of Birth: 17/03/1999\n");
            lines.extend(line.into_bytes());
        }
        Ok::<_, ()>(Written { bets, winners, key })
    });
    added.unwrap();
}

/// Returns a group of batches: of each, this many rows, the first of which wins.
pub fn group(name: &str, batches: &[usize]) -> Group {
    let mut group = Group::default();
    for (number, bets) in batches.iter().enumerate() {
        add(&mut group, 1, &format!("{name}-{number}"), *bets, None);
    }
    group
}

/// Appends a batch of this many bets. All earlier records are durable.
pub fn append(storage: &mut Storage, ledger: Ledger, name: &str, bets: usize) -> Ledger {
    let appended = storage.append(ledger, group(name, &[bets]).all(), ledger.records);
    let (after, refused) = appended.unwrap();
    assert!(refused.is_none(), "{refused:?}");
    after
}

/// Marks an agency as finished. All earlier records are durable.
pub fn finish(storage: &mut Storage, ledger: Ledger, agency: u16) -> Ledger {
    let (after, refused) = storage.finish(ledger, agency, ledger.records).unwrap();
    assert!(refused.is_none(), "{refused:?}");
    after
}

/// Returns the batches, bets and finished agencies of a ledger.
pub fn totals(ledger: &Ledger) -> [u64; 3] {
    [ledger.batches, ledger.bets, ledger.finished.into()]
}

/// Stores a batch of these bets, as a worker does. All earlier records are durable.
pub fn store(storage: &mut Storage, ledger: Ledger, bets: &[Bet<'_>]) -> Ledger {
    let mut group = Group::default();
    let added = group.add(|rows, lines| {
        let winners = (0..bets.len()).filter(|place| is_winner(&bets[*place])).collect::<Vec<_>>();
        winners.iter().for_each(|place| write_winner_line(&bets[*place], lines));
        write_rows(bets, rows).map(|()| Written { bets: bets.len(), winners, key: None })
    });
    added.unwrap();
    let (after, refused) = storage.append(ledger, group.all(), ledger.records).unwrap();
    assert!(refused.is_none(), "{refused:?}");
    after
}

/// Holds a draw in one way, and returns its file.
pub fn draw(
    storage: &Storage,
    ledger: &Ledger,
    begin: impl Fn(&Files, &Ledger) -> Result<Drawing, FileError>,
) -> Vec<u8> {
    let mut drawing = begin(&storage.files, ledger).unwrap();
    let by_index = drawing.uses_index();
    while !storage.advance_draw(&mut drawing, 1 << 20).unwrap() {}
    assert_eq!(drawing.uses_index(), by_index, "the index does not match");
    storage.write_draw(&drawing).unwrap();
    fs::read(storage.files.directory.join("draw.csv")).unwrap()
}

/// Holds the draw by the index, which must match, and returns its file.
pub fn hold_draw(storage: &Storage, ledger: &Ledger) -> Vec<u8> {
    draw(storage, ledger, Drawing::of_index)
}
