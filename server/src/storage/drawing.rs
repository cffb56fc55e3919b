//! The draw of a storage: it finds the winners of every agency among everything that is stored.
//!
//! The index names the winners' rows. If it does not match the other files, all bets are read
//! instead, and the index is written again. Both ways have the same result.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::Path;

use conventions::log_line::{Outcome, warn};
use csv::{Terminator, WriterBuilder};
use lottery::Bet;

use super::draw::{self, Draw, draw_over};
use super::file::{sync_all, sync_directory};
use super::files::Files;
use super::rows::Rows;
use super::winner_index::{self, Entry, IndexedWinners, LineMatch};
use super::{Durability, FileError, Ledger, Storage, StorageError, access};

/// Name of the file of the result until it is complete.
const UNFINISHED: &str = "draw.csv.new";
/// Bytes of bets in the time to read which about one winner of the index is read.
const BYTES_PER_WINNER: u64 = 512;

/// A draw in progress. It advances in pieces, so that its worker can serve connections in between.
#[derive(Debug)]
pub struct Drawing {
    /// What the draw is held over.
    ledger: Ledger,
    source: Source,
    found: Found,
    /// Why the index cannot be used.
    index_failure: Option<String>,
}

/// Where the winners are read from.
#[derive(Debug)]
enum Source {
    Index(Box<IndexedWinners>),
    AllBets(Box<AllBets>),
}

/// All rows of `bets.csv`.
#[derive(Debug)]
struct AllBets {
    rows: Rows,
    lines: LineMatch,
    /// Entries that the index should have, as far as they are not written yet.
    entries: Vec<Entry>,
    /// Entries that are written.
    written: u64,
}

/// The winners that were found.
#[derive(Debug, Default, PartialEq)]
struct Found {
    count: u64,
    /// Rows of the file, per agency. Memory holds only the winners, which are few.
    sections: BTreeMap<u16, Vec<u8>>,
}

impl Found {
    /// Adds a winner, if an agency can ask for it.
    fn add(&mut self, bet: &Bet<'_>) -> io::Result<()> {
        // Agency 0 stands for dialects without agencies. A row with the number 0 does not show
        // that its bet has none and wins.
        if bet.agency != 0 && bet.number.is_some() {
            self.count += 1;
            let section = self.sections.entry(bet.agency).or_default();
            put_row(&[&bet.agency.to_string(), bet.document.as_str()], section)?;
        }
        Ok(())
    }
}

impl Drawing {
    /// Begins a draw over what `ledger` counts, with the winners that the index names. Nothing may
    /// be appended to the files from then on.
    pub fn of_index(files: &Files, ledger: &Ledger) -> Result<Self, FileError> {
        let (index, bets) = (files.index.file().try_clone()?, files.bets.try_clone()?);
        let source = Source::Index(Box::new(IndexedWinners::new(index, bets, ledger)));
        Ok(Self::new(ledger, source))
    }

    /// Begins the same draw, but reads all bets.
    pub fn of_all_bets(files: &Files, ledger: &Ledger) -> Result<Self, FileError> {
        let bets = AllBets {
            rows: Rows::new(files.bets.try_clone()?, ledger.rows_end),
            lines: LineMatch::new(files.winners.try_clone()?),
            entries: Vec::new(),
            written: 0,
        };
        Ok(Self::new(ledger, Source::AllBets(Box::new(bets))))
    }

    fn new(ledger: &Ledger, source: Source) -> Self {
        Self { ledger: *ledger, source, found: Found::default(), index_failure: None }
    }

    /// Continues for the time that about `bytes` bytes of bets take. Returns true once every winner
    /// is found.
    pub fn advance(&mut self, bytes: u64) -> io::Result<bool> {
        let found = &mut self.found;
        match &mut self.source {
            Source::Index(index) => {
                let winners = bytes.div_ceil(BYTES_PER_WINNER);
                index.advance(winners, |bet| found.add(bet))
            }
            Source::AllBets(bets) => {
                let AllBets { rows, lines, entries, .. } = &mut **bets;
                let complete = rows.advance(bytes, |offset, bet| {
                    if lines.is_next(bet)? {
                        entries.push(Entry { offset, has_number: bet.number.is_some() });
                    }
                    found.add(bet)
                })?;
                if complete { rows.check(&self.ledger).map(|()| true) } else { Ok(false) }
            }
        }
    }

    /// Returns true if both draws have found the same winners.
    #[cfg(any(test, fuzzing))]
    pub fn finds_the_same(&self, other: &Self) -> bool {
        self.found == other.found
    }

    /// Returns true if the winners are those that the index names.
    pub fn uses_index(&self) -> bool {
        matches!(self.source, Source::Index(_))
    }

    /// Writes the entries of the index for the bets that were read since the last call.
    fn write_index(&mut self, files: &Files) -> Result<(), FileError> {
        let Source::AllBets(bets) = &mut self.source else { return Ok(()) };
        let entries = std::mem::take(&mut bets.entries);
        files.index.write(bets.written, &entries)?;
        bets.written += entries.len() as u64;
        Ok(())
    }

    /// Returns the number of bets that the draw is held over.
    pub fn bets(&self) -> u64 {
        self.ledger.bets
    }

    fn title(&self) -> io::Result<Vec<u8>> {
        let (bets, winners) = (self.ledger.bets.to_string(), self.found.count.to_string());
        let checksum = format!("{:08x}", self.ledger.rows_checksum);
        let mut title = Vec::new();
        put_row(&[draw::TITLE, &bets, &winners, &checksum], &mut title)?;
        Ok(title)
    }

    /// Writes the result. If this fails, the draw has not been held.
    pub fn write(&self, directory: &Path, durable: bool) -> io::Result<()> {
        let unfinished = directory.join(UNFINISHED);
        let mut file = access::options(&unfinished).truncate(true).open(&unfinished)?;
        file.write_all(&self.title()?)?;
        self.found.sections.values().try_for_each(|section| file.write_all(section))?;
        if durable {
            sync_all(&file)?;
        }
        // Some file systems cannot rename an open file.
        drop(file);
        fs::rename(&unfinished, directory.join(draw::FILE))?;
        if durable {
            sync_directory(directory).map_err(io::Error::other)?;
        }
        Ok(())
    }

    /// Returns true if `draw.csv` is the result of this draw, which has found every winner.
    pub fn has_written(&self, draw: &Draw) -> io::Result<bool> {
        draw.has(self.ledger.bets, &self.found.sections)
    }
}

impl Rows {
    /// Checks that the rows are those that were stored, after all of them were read.
    fn check(&self, ledger: &Ledger) -> io::Result<()> {
        if (self.count, self.checksum) == (ledger.bets, ledger.rows_checksum) {
            return Ok(());
        }
        let reason = "its rows are not those that were stored; stop the central and run \
                      `loteria-central verify` to see which, then restore them";
        Err(io::Error::new(ErrorKind::InvalidData, reason))
    }
}

/// Appends a row of the file.
pub fn put_row(fields: &[&str], out: impl io::Write) -> io::Result<()> {
    let mut writer =
        WriterBuilder::new().terminator(Terminator::CRLF).flexible(true).from_writer(out);
    writer.write_record(fields)?;
    writer.flush()
}

impl Storage {
    /// Begins a draw over everything stored up to `ledger`.
    pub fn begin_draw(&self, ledger: &Ledger) -> Result<Drawing, FileError> {
        Drawing::of_index(&self.files, ledger)
    }

    /// Continues a draw for the time that about `bytes` bytes of bets take. Returns true once every
    /// winner is found.
    pub fn advance_draw(&self, drawing: &mut Drawing, bytes: u64) -> Result<bool, FileError> {
        let advanced = drawing.advance(bytes);
        if let Err(reason) = &advanced
            && drawing.uses_index()
        {
            let index_failure = Some(reason.to_string());
            *drawing = Drawing::of_all_bets(&self.files, &drawing.ledger)?;
            drawing.index_failure = index_failure;
            return Ok(false);
        }
        // The draw does not need the file any more.
        let _ = drawing.write_index(&self.files);
        let advanced = advanced.map_err(FileError::of("drawing from", self.files.bets.path()));
        // Once per draw, and not per attempt.
        if let Ok(true) = &advanced
            && let Some(reason) = &drawing.index_failure
        {
            warn("draw", Outcome::Success)
                .with("file", winner_index::FILE)
                .with("reason", reason)
                .with("remedy", "all bets were read, and the file was written again")
                .write();
        }
        advanced
    }

    /// Writes the result of a draw. If this fails, the draw has not been held.
    pub fn write_draw(&self, drawing: &Drawing) -> Result<(), FileError> {
        let directory = &self.files.directory;
        let written = drawing.write(directory, self.run.durability == Durability::Disk);
        written.map_err(FileError::of("writing", &directory.join(draw::FILE)))
    }

    /// Returns true if there is a result of the draw, whole or damaged.
    pub fn has_draw(&self) -> Result<bool, FileError> {
        let path = self.files.directory.join(draw::FILE);
        path.try_exists().map_err(FileError::of("looking for", &path))
    }

    /// Returns the result of the draw, if it has been held. A damaged file is an error.
    pub fn draw(&self) -> Result<Option<Draw>, FileError> {
        let directory = &self.files.directory;
        Draw::open(directory).map_err(FileError::of("reading", &directory.join(draw::FILE)))
    }

    /// Returns the same as [`draw`](Self::draw). Fails if the draw was not held over the bets in
    /// the ledger, because nothing can be stored after it.
    pub fn draw_over(&self, ledger: &Ledger) -> Result<Option<Draw>, StorageError> {
        draw_over(&self.files.directory, ledger)
    }
}
