//! A disk under a page cache: what has been synced, what has only been written, and what a power
//! loss may leave of it.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::Random;
use super::operations::{Action, Operation};

/// Smallest unit that a disk writes whole.
const SECTOR: u64 = 512;
/// Unit of the page cache.
const PAGE: u64 = 4096;

/// What a power loss may do to operations that were not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Model {
    /// The disk keeps the order: a beginning of all operations survives, and the last write may be
    /// torn.
    Ordered,
    /// Any of them survive, in any combination of sectors.
    Reordered,
    /// As `Reordered`; and a failed sync marks the pages as clean although some were never written,
    /// so that no later sync writes them.
    FailedSyncDropsPages,
}

/// All models.
pub const MODELS: [Model; 3] = [Model::Ordered, Model::Reordered, Model::FailedSyncDropsPages];

/// The files of a directory by name.
pub type Files = BTreeMap<String, Vec<u8>>;

/// Index into [`Disk::files`]. A file keeps it when its name changes.
type Id = usize;

/// The simulated disk of the storage directory.
#[derive(Debug)]
pub struct Disk {
    model: Model,
    /// Number of operations so far.
    now: u64,
    files: Vec<StoredFile>,
    /// The names that a running process sees.
    names: BTreeMap<String, Id>,
    /// The names that a power loss leaves at least.
    synced_names: BTreeMap<String, Id>,
    /// Changes of names since then, with the time of each.
    pending_names: Vec<(u64, NameChange)>,
    /// Begin of each sync that has not ended, by process and file.
    syncs: BTreeMap<(u32, String), u64>,
    /// In the ordered model, everything up to this time is on the disk.
    floor: u64,
}

#[derive(Clone, Debug)]
enum NameChange {
    Create(String, Id),
    Rename(String, String),
    Unlink(String),
}

#[derive(Debug, Default)]
struct StoredFile {
    /// What is on the disk.
    synced: Vec<u8>,
    /// What a running process reads.
    cached: Vec<u8>,
    /// Changes that are not on the disk, with the time of each.
    pending: Vec<(u64, Change)>,
    /// Pages whose content in the cache was never written although they are clean.
    dropped: BTreeSet<u64>,
}

#[derive(Clone, Debug)]
enum Change {
    Write(u64, Rc<[u8]>),
    Length(u64),
}

impl Disk {
    /// Returns a disk with these files, all of which are synced.
    pub fn new(model: Model, files: &Files) -> Self {
        let mut disk = Self {
            model,
            now: 0,
            files: Vec::new(),
            names: BTreeMap::new(),
            synced_names: BTreeMap::new(),
            pending_names: Vec::new(),
            syncs: BTreeMap::new(),
            floor: 0,
        };
        for (name, content) in files {
            disk.synced_names.insert(name.clone(), disk.files.len());
            let (synced, cached) = (content.clone(), content.clone());
            disk.files.push(StoredFile { synced, cached, ..StoredFile::default() });
        }
        disk.names = disk.synced_names.clone();
        disk
    }

    /// Returns what a running process sees.
    pub fn seen(&self) -> Files {
        let content = |id: &Id| self.files[*id].cached.clone();
        self.names.iter().map(|(name, id)| (name.clone(), content(id))).collect()
    }

    /// Performs an operation.
    pub fn perform(&mut self, operation: &Operation, random: &mut Random) {
        self.now += 1;
        let (now, name) = (self.now, &operation.name);
        let id = self.names.get(name).copied();
        match &operation.action {
            Action::Create => {
                let id = self.files.len();
                self.files.push(StoredFile::default());
                self.names.insert(name.clone(), id);
                self.pending_names.push((now, NameChange::Create(name.clone(), id)));
            }
            Action::Rename(to) => {
                let id = self.names.remove(name).expect("a renamed file exists");
                self.names.insert(to.clone(), id);
                self.pending_names.push((now, NameChange::Rename(name.clone(), to.clone())));
            }
            Action::Unlink => {
                self.names.remove(name);
                self.pending_names.push((now, NameChange::Unlink(name.clone())));
            }
            Action::Write(offset, bytes) => {
                let file = &mut self.files[id.expect("a written file exists")];
                file.write(now, *offset, bytes);
            }
            Action::Truncate(length) => {
                let file = &mut self.files[id.expect("a truncated file exists")];
                file.cached.resize(*length as usize, 0);
                file.pending.push((now, Change::Length(*length)));
            }
            Action::SyncBegins => {
                self.syncs.insert((operation.pid, name.clone()), now);
            }
            Action::SyncEnds => {
                let begin = self.syncs.remove(&(operation.pid, name.clone())).unwrap_or(0);
                self.sync(name, id, begin);
            }
            Action::SyncFails => {
                let begin = self.syncs.remove(&(operation.pid, name.clone())).unwrap_or(0);
                if let (Some(id), Model::FailedSyncDropsPages) = (id, self.model) {
                    self.files[id].drop_pages(begin, random);
                }
            }
            Action::Reply(_) => {}
        }
    }

    fn sync(&mut self, name: &str, id: Option<Id>, begin: u64) {
        if self.model == Model::Ordered {
            let last = match id {
                Some(id) => self.files[id].pending.iter().map(|change| change.0).collect(),
                None => self.pending_names.iter().map(|change| change.0).collect::<Vec<_>>(),
            };
            let last = last.into_iter().filter(|time| *time < begin).max();
            self.floor = self.floor.max(last.unwrap_or(0));
            let floor = self.floor + 1;
            self.files.iter_mut().for_each(|file| file.settle(floor));
            self.settle_names(floor);
        } else if let Some(id) = id {
            self.files[id].settle(begin);
        } else if name == "." {
            self.settle_names(begin);
        }
    }

    fn settle_names(&mut self, end: u64) {
        let (before, later) = self.pending_names.drain(..).partition(|(time, _)| *time < end);
        self.pending_names = later;
        let before: Vec<_> = before;
        before.iter().for_each(|(_, change)| change.apply(&mut self.synced_names));
    }

    /// Returns what a power loss now leaves, and a description of how it was chosen.
    pub fn crash(&self, random: &mut Random) -> (Files, String) {
        match self.model {
            Model::Ordered => self.crash_in_order(random),
            Model::Reordered | Model::FailedSyncDropsPages => self.crash_in_any_order(random),
        }
    }

    fn crash_in_order(&self, random: &mut Random) -> (Files, String) {
        // Often the whole of it, as after the death of all processes.
        let cut = match random.below(4) {
            0 => self.now,
            _ => self.floor + random.below(self.now - self.floor + 1),
        };
        let mut names = self.synced_names.clone();
        let survive = self.pending_names.iter().filter(|(time, _)| *time <= cut);
        survive.for_each(|(_, change)| change.apply(&mut names));
        let content = |id: &Id| {
            let file = &self.files[*id];
            let mut content = file.synced.clone();
            for (time, change) in file.pending.iter().filter(|(time, _)| *time <= cut) {
                match change {
                    // A disk writes each sector whole or not at all.
                    Change::Write(offset, bytes) if *time == cut => {
                        let sectors = parts(*offset, bytes, SECTOR);
                        let written = random.below(1 + sectors.clone().count() as u64);
                        for (start, part) in sectors.take(written as usize) {
                            write(&mut content, start, part);
                        }
                    }
                    change => change.apply(&mut content),
                }
            }
            content
        };
        let files = contents(&names, content);
        (files, format!("operations up to {cut} of {}", self.now))
    }

    fn crash_in_any_order(&self, random: &mut Random) -> (Files, String) {
        let mut names = self.synced_names.clone();
        let mut description = String::new();
        let odds = random.pick(&[0, 1, 2, 4]);
        for (_, change) in &self.pending_names {
            if random.below(4) < odds && change.is_possible(&names) {
                change.apply(&mut names);
            }
        }
        let files = contents(&names, |id| {
            let file = &self.files[*id];
            let mut content = file.synced.clone();
            let choice = random.pick(&Survivors::ALL);
            if !file.pending.is_empty() {
                description += &format!("{choice:?} of {} changes; ", file.pending.len());
            }
            choice.apply(&file.pending, &mut content, random);
            content
        });
        (files, description)
    }
}

/// Returns the content of each name.
fn contents(names: &BTreeMap<String, Id>, mut content: impl FnMut(&Id) -> Vec<u8>) -> Files {
    names.iter().map(|(name, id)| (name.clone(), content(id))).collect()
}

/// Which of the pending changes of a file survive.
#[derive(Clone, Copy, Debug)]
enum Survivors {
    None,
    All,
    Beginning,
    Some,
    AllButOne,
    LastOnly,
    /// The lengths, and the content of some writes: a file system that extends a file before it
    /// writes the data leaves zeros.
    Lengths,
    Sectors,
    Pages,
}

impl Survivors {
    const ALL: [Self; 9] = [
        Self::None,
        Self::All,
        Self::Beginning,
        Self::Some,
        Self::AllButOne,
        Self::LastOnly,
        Self::Lengths,
        Self::Sectors,
        Self::Pages,
    ];

    fn apply(self, pending: &[(u64, Change)], content: &mut Vec<u8>, random: &mut Random) {
        let count = pending.len() as u64;
        let chosen = if count == 0 { 0 } else { random.below(count) };
        let odds = 1 + random.below(9);
        for (index, (_, change)) in (0..).zip(pending) {
            let survives = match self {
                Self::None => false,
                Self::All => true,
                Self::Beginning => index <= chosen,
                Self::Some | Self::Lengths => random.below(10) < odds,
                Self::AllButOne => index != chosen,
                Self::LastOnly => index == count - 1,
                Self::Sectors | Self::Pages => {
                    let unit = if matches!(self, Self::Sectors) { SECTOR } else { PAGE };
                    change.apply_parts(content, unit, || random.below(10) < odds);
                    false
                }
            };
            if survives {
                change.apply(content);
            } else if let (Self::Lengths, Change::Write(offset, bytes)) = (self, change) {
                let end = *offset as usize + bytes.len();
                content.resize(content.len().max(end), 0);
            }
        }
    }
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<String, Id>) {
        match self {
            Self::Create(name, id) => {
                names.insert(name.clone(), *id);
            }
            Self::Rename(from, to) => {
                if let Some(id) = names.remove(from) {
                    names.insert(to.clone(), id);
                }
            }
            Self::Unlink(name) => {
                names.remove(name);
            }
        }
    }

    /// Returns true if the change can survive: a file whose creation is lost cannot be renamed.
    fn is_possible(&self, names: &BTreeMap<String, Id>) -> bool {
        match self {
            Self::Rename(from, _) => names.contains_key(from),
            Self::Create(..) | Self::Unlink(_) => true,
        }
    }
}

impl StoredFile {
    fn write(&mut self, now: u64, offset: u64, bytes: &[u8]) {
        write(&mut self.cached, offset, bytes);
        let end = offset + bytes.len() as u64;
        let pages = offset / PAGE..=end.saturating_sub(1) / PAGE;
        let again: Vec<_> = self.dropped.range(pages).copied().collect();
        for page in again {
            // The page is dirty again, with everything that the cache holds of it.
            self.dropped.remove(&page);
            let start = (page * PAGE) as usize;
            let whole = &self.cached[start..self.cached.len().min(start + PAGE as usize)];
            self.pending.push((now, Change::Write(page * PAGE, whole.into())));
        }
        self.pending.push((now, Change::Write(offset, bytes.into())));
    }

    /// Everything before a time is on the disk now.
    fn settle(&mut self, end: u64) {
        let (before, later) = self.pending.drain(..).partition(|(time, _)| *time < end);
        self.pending = later;
        let before: Vec<_> = before;
        before.iter().for_each(|(_, change)| change.apply(&mut self.synced));
    }

    /// A sync of everything before a time has failed. Some pages were written before it failed;
    /// the others count as clean.
    fn drop_pages(&mut self, end: u64, random: &mut Random) {
        let odds = random.pick(&[0, 3, 7]);
        let mut fates: BTreeMap<u64, bool> = BTreeMap::new();
        let mut kept = Vec::new();
        for (time, change) in std::mem::take(&mut self.pending) {
            match change {
                Change::Write(offset, bytes) if time < end => {
                    for (start, part) in parts(offset, &bytes, PAGE) {
                        let page = start / PAGE;
                        if *fates.entry(page).or_insert_with(|| random.below(10) < odds) {
                            kept.push((time, Change::Write(start, part.into())));
                        } else {
                            // The length is metadata, which is not lost with the page.
                            let length = (start + part.len() as u64).max(self.synced.len() as u64);
                            self.synced.resize(length as usize, 0);
                            self.dropped.insert(page);
                        }
                    }
                }
                change => kept.push((time, change)),
            }
        }
        self.pending = kept;
    }
}

impl Change {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Self::Write(offset, bytes) => write(content, *offset, bytes),
            Self::Length(length) => content.resize(*length as usize, 0),
        }
    }

    /// Applies the sectors or pages of a write that `survives` chooses; a change of the length as a
    /// whole.
    fn apply_parts(&self, content: &mut Vec<u8>, unit: u64, mut survives: impl FnMut() -> bool) {
        match self {
            Self::Write(offset, bytes) => {
                for (start, part) in parts(*offset, bytes, unit) {
                    if survives() {
                        write(content, start, part);
                    }
                }
            }
            Self::Length(_) if survives() => self.apply(content),
            Self::Length(_) => {}
        }
    }
}

/// Splits bytes at the boundaries of sectors or pages.
fn parts(offset: u64, bytes: &[u8], unit: u64) -> impl Iterator<Item = (u64, &[u8])> + Clone {
    let end = offset + bytes.len() as u64;
    let boundaries = (offset / unit..end.div_ceil(unit)).map(move |index| index * unit);
    boundaries.map(move |boundary| {
        let start = boundary.max(offset);
        let part = (start - offset) as usize..((boundary + unit).min(end) - offset) as usize;
        (start, &bytes[part])
    })
}

fn write(content: &mut Vec<u8>, offset: u64, bytes: &[u8]) {
    let (start, end) = (offset as usize, offset as usize + bytes.len());
    content.resize(content.len().max(end), 0);
    content[start..end].copy_from_slice(bytes);
}
