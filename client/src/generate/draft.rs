//! A file of bets that appears under its name only when it is complete.

use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};

use csv::{QuoteStyle, Terminator, WriterBuilder};

use super::Row;
use super::people::Person;

/// A file that is written under a temporary name and renamed when it is complete. If it is dropped
/// before that, the temporary file is removed.
pub(crate) struct Draft {
    /// `None` after the file has been published.
    writer: Option<csv::Writer<BufWriter<File>>>,
    /// Temporary path.
    temporary: PathBuf,
    /// Final path.
    path: PathBuf,
}

impl Draft {
    /// Creates the temporary file for `path`.
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        // In the same directory, because a file cannot be renamed into another file system. With
        // the process id, so that two simultaneous runs do not write into one file.
        let temporary = path.with_extension(format!("csv.{}", std::process::id()));
        let file = BufWriter::new(File::create(&temporary)?);
        let writer = WriterBuilder::new()
            .has_headers(false)
            .quote_style(QuoteStyle::Necessary)
            .terminator(Terminator::CRLF)
            .from_writer(file);
        Ok(Self { writer: Some(writer), temporary, path: path.to_owned() })
    }

    /// Appends a row.
    pub(crate) fn write(&mut self, row: &Row) -> io::Result<()> {
        let Some(writer) = &mut self.writer else { return Ok(()) };
        let Person { first_name, last_name, document, birthdate } = &row.person;
        writer.write_record([
            first_name.as_bytes(),
            last_name.as_bytes(),
            document.to_string().as_bytes(),
            &birthdate.iso_bytes(),
            row.number.to_string().as_bytes(),
        ])?;
        Ok(())
    }

    /// Renames the file to its final name, replacing an older file. If that fails, the older file
    /// is unchanged.
    pub(crate) fn publish(mut self) -> io::Result<()> {
        if let Some(writer) = &mut self.writer {
            writer.flush()?;
        }
        fs::rename(&self.temporary, &self.path)?;
        self.writer = None;
        Ok(())
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if self.writer.is_some() {
            let _already_gone = fs::remove_file(&self.temporary);
        }
    }
}
