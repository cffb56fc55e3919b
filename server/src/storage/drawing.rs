//! The draw of a storage: it covers everything that is stored, and its result stays beside it.

use std::path::Path;

use super::draw::{self, Draw, Drawing};
use super::files::inconsistent;
use super::{Durability, FileError, Ledger, Storage, StorageError};

impl Storage {
    /// Begins a draw over everything stored up to `ledger`.
    pub fn begin_draw(&self, ledger: &Ledger) -> Result<Drawing, FileError> {
        Ok(Drawing::new(self.files.bets.try_clone()?, ledger))
    }

    /// Continues a draw for about `bytes` bytes. Returns true once it has read every bet.
    pub fn advance_draw(&self, drawing: &mut Drawing, bytes: u64) -> Result<bool, FileError> {
        drawing.advance(bytes).map_err(FileError::of("drawing from", self.files.bets.path()))
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

/// Returns the result of the draw, if it has been held. Fails if it was not held over the bets in
/// the ledger.
pub fn draw_over(directory: &Path, ledger: &Ledger) -> Result<Option<Draw>, StorageError> {
    let path = directory.join(draw::FILE);
    let draw = Draw::open(directory).map_err(FileError::of("reading", &path))?;
    let Some(held) = &draw else { return Ok(None) };
    let other = if held.bets != ledger.bets {
        format!("{} bets, but bets.csv has {}", held.bets, ledger.bets)
    } else if held.checksum.is_some_and(|checksum| checksum != ledger.rows_checksum) {
        "other bets than bets.csv has".to_owned()
    } else {
        return Ok(draw);
    };
    let advice = "restore bets.csv, or move this file away to hold another draw";
    Err(inconsistent(&path, format!("the draw was held over {other}; {advice}")))
}
