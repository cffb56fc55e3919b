//! The files of a storage, written from bets that are stored elsewhere.
//!
//! Each file is written under another name, and gets its own when all are complete. No file is
//! replaced.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use super::draw::{self, TITLE};
use super::drawing::put_row;
use super::file::{sync_all, sync_directory};
use super::files::{BETS, WINNERS};
use super::ledger::checksum;
use super::{FileError, access};

/// Bytes that are written at a time.
const BUFFER: usize = 1 << 20;

/// Why there is no export.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The directory has one of the files.
    #[error("{} exists: choose another directory, or move it away", .0.display())]
    Taken(PathBuf),
    /// A file cannot be written.
    #[error(transparent)]
    File(#[from] FileError),
}

/// The files that are being written.
#[derive(Debug)]
pub struct Export {
    directory: PathBuf,
    bets: Unfinished,
    winners: Unfinished,
    draw: Option<Unfinished>,
    /// CRC-32 of the rows so far.
    checksum: u32,
}

/// A file without its name.
#[derive(Debug)]
struct Unfinished {
    path: PathBuf,
    file: BufWriter<File>,
}

impl Unfinished {
    fn create(directory: &Path, name: &str) -> Result<Self, FileError> {
        let path = directory.join(format!("{name}.new"));
        let file = access::options(&directory.join(name))
            .truncate(true)
            .open(&path)
            .map_err(FileError::of("creating", &path))?;
        Ok(Self { path, file: BufWriter::with_capacity(BUFFER, file) })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), FileError> {
        self.file.write_all(bytes).map_err(FileError::of("writing", &self.path))
    }

    fn put(&mut self, fields: &[&str]) -> Result<(), FileError> {
        put_row(fields, &mut self.file).map_err(FileError::of("writing", &self.path))
    }

    fn sync(&mut self) -> Result<(), FileError> {
        let synced = self.file.flush().and_then(|()| sync_all(self.file.get_ref()));
        synced.map_err(FileError::of("syncing", &self.path))
    }

    /// Gives the file its name, unless there is a file with this name.
    fn name(self, directory: &Path, name: &str) -> Result<(), ExportError> {
        let path = directory.join(name);
        match fs::hard_link(&self.path, &path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(ExportError::Taken(path));
            }
            linked => linked.map_err(FileError::of("naming", &path))?,
        }
        Ok(fs::remove_file(&self.path).map_err(FileError::of("removing", &self.path))?)
    }
}

impl Export {
    /// Begins to write into a directory, which is created if it is missing.
    pub fn begin(directory: &Path) -> Result<Self, ExportError> {
        access::create_directory(directory)?;
        let taken = [BETS, WINNERS, draw::FILE].map(|name| directory.join(name));
        if let Some(path) = taken.into_iter().find(|path| path.exists()) {
            return Err(ExportError::Taken(path));
        }
        Ok(Self {
            directory: directory.to_owned(),
            bets: Unfinished::create(directory, BETS)?,
            winners: Unfinished::create(directory, WINNERS)?,
            draw: None,
            checksum: 0,
        })
    }

    /// Appends rows, and the lines of the winners among them, without their ends.
    pub fn add<'a>(
        &mut self,
        rows: &[u8],
        lines: impl IntoIterator<Item = &'a str>,
    ) -> Result<(), FileError> {
        self.checksum = checksum(self.checksum, rows);
        self.bets.write(rows)?;
        lines.into_iter().try_for_each(|line| {
            self.winners.write(line.as_bytes())?;
            self.winners.write(b"\n")
        })
    }

    /// Begins the result of the draw, once all rows were added.
    pub fn begin_draw(&mut self, bets: u64, winners: u64) -> Result<(), FileError> {
        let mut file = Unfinished::create(&self.directory, draw::FILE)?;
        let checksum = format!("{:08x}", self.checksum);
        file.put(&[TITLE, &bets.to_string(), &winners.to_string(), &checksum])?;
        self.draw = Some(file);
        Ok(())
    }

    /// Appends a winner to the result of the draw. Those of an agency follow each other.
    pub fn add_drawn(&mut self, agency: i32, document: &str) -> Result<(), FileError> {
        match &mut self.draw {
            Some(file) => file.put(&[&agency.to_string(), document]),
            None => Ok(()),
        }
    }

    /// Gives the files their names, once all are on the disk.
    pub fn finish(mut self) -> Result<(), ExportError> {
        let files = [Some(&mut self.bets), Some(&mut self.winners), self.draw.as_mut()];
        files.into_iter().flatten().try_for_each(Unfinished::sync)?;
        self.bets.name(&self.directory, BETS)?;
        self.winners.name(&self.directory, WINNERS)?;
        if let Some(file) = self.draw {
            file.name(&self.directory, draw::FILE)?;
        }
        Ok(sync_directory(&self.directory)?)
    }
}
