//! A file of bets that is being written and is not there before it is whole.

use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};

use csv::{QuoteStyle, Terminator, WriterBuilder};

use super::Row;
use super::people::Person;

/// A file that appears under its name only when it is whole; dropped before that, it leaves nothing.
pub(crate) struct Draft {
    /// `None` once published.
    writer: Option<csv::Writer<BufWriter<File>>>,
    /// Where it is being written.
    temporary: PathBuf,
    /// Where it will be.
    path: PathBuf,
}

impl Draft {
    /// Begins the file that is to be `path`.
    ///
    /// # Errors
    /// When the system refuses to create it.
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        // In the same directory, for a file cannot be renamed into another file system; with our process id, so that two runs
        // at once do not write into one file.
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
    ///
    /// # Errors
    /// When the system refuses to write.
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

    /// Gives the file its name, in place of an older one.
    ///
    /// # Errors
    /// When the system refuses to write or to rename; the older file stays as it was.
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
