//! A copy in memory of a result of the draw that an engine has stored, in the format of `draw.csv`.

use std::fs::File;
use std::io::{self, BufWriter, Write};

use nix::sys::memfd::{MFdFlags, memfd_create};

use super::draw::{Draw, TITLE};
use super::drawing::put_row;

/// A copy that is being written.
#[derive(Debug)]
pub struct DrawCopy {
    file: BufWriter<File>,
    row: Vec<u8>,
}

impl DrawCopy {
    /// Begins the copy of a draw over this number of bets, with this number of winners.
    pub fn new(bets: u64, winners: u64) -> io::Result<Self> {
        let file = File::from(memfd_create("draw.csv", MFdFlags::MFD_CLOEXEC)?);
        let mut copy = Self { file: BufWriter::new(file), row: Vec::new() };
        copy.put(&[TITLE, &bets.to_string(), &winners.to_string()])?;
        Ok(copy)
    }

    /// Adds a winner. Those of an agency follow each other.
    pub fn add(&mut self, agency: i32, document: &str) -> io::Result<()> {
        self.put(&[&agency.to_string(), document])
    }

    fn put(&mut self, fields: &[&str]) -> io::Result<()> {
        self.row.clear();
        put_row(fields, &mut self.row)?;
        self.file.write_all(&self.row)
    }

    /// Ends the copy. Fails if a winner is missing.
    pub fn finish(self) -> io::Result<Draw> {
        Draw::read_from(self.file.into_inner().map_err(io::IntoInnerError::into_error)?)
    }
}
