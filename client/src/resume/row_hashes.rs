//! The file of row hashes beside a state: a hash per line of the file of bets, from which a later
//! run knows the first row that has changed.
//!
//! All integers are big-endian.
//!
//! | bytes | content |
//! |---|---|
//! | 8 | `lotrows` and the version of the format, 1 |
//! | 16 | the session |
//! | 8 | edition, which the state names as well |
//! | 8 | length of the file of bets in bytes |
//! | 8 | number of its lines |
//! | 8 | hash of the file of bets |
//! | 8 | checksum: the hash of everything after it and of the fields before it, in this order |
//! | 4 per line | the lower half of the hash of the file of bets up to the end of the line |
//!
//! The hash is SipHash-1-3 with zero keys. A row that has changed is overlooked, and the next one
//! named, with a probability of 2^-32.

use std::fs::{self, File, OpenOptions};
use std::hash::Hasher;
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use siphasher::sip::SipHasher13;

use super::file::{MODE, next_path, sync_directory};
use super::lines::{Lines, ends_a_line};

/// What the file begins with, before its version.
const NAME: [u8; 7] = *b"lotrows";
/// Version of the format. A program refuses any other.
const VERSION: u8 = 1;
/// Length of the header before the checksum.
const FIELDS_BYTES: usize = 56;
const HEADER_BYTES: usize = FIELDS_BYTES + 8;
/// Length of the hash of a line.
const HASH_BYTES: usize = 4;
/// Size of one read or write in bytes.
const BUFFER_BYTES: usize = 64 * 1024;

/// Why the hashes cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UnusableHashes {
    /// There is no such file.
    #[error("it is missing")]
    Missing,
    /// It is of another version of the program.
    #[error("its format has version {0}, this program reads version {VERSION}")]
    Version(u8),
    /// It is damaged, or is another file.
    #[error("it is damaged or is not a file of row hashes")]
    Damaged,
    /// It was written beside another state.
    #[error("it is of another session")]
    OtherSession,
    /// It was written at another time than the state.
    #[error("it is older or newer than the state")]
    OtherEdition,
    /// The system cannot read it.
    #[error("{0}")]
    Unreadable(#[from] io::Error),
}

/// The fields of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Header {
    session: [u8; 16],
    edition: u64,
    /// Length of the file of bets.
    bytes: u64,
    lines: u64,
    /// Hash of the file of bets.
    hash: u64,
}

impl Header {
    fn to_bytes(self) -> [u8; FIELDS_BYTES] {
        let Self { session, edition, bytes, lines, hash } = self;
        let mut fields = [0; FIELDS_BYTES];
        fields[..7].copy_from_slice(&NAME);
        fields[7] = VERSION;
        fields[8..24].copy_from_slice(&session);
        for (field, value) in fields[24..].chunks_exact_mut(8).zip([edition, bytes, lines, hash]) {
            field.copy_from_slice(&value.to_be_bytes());
        }
        fields
    }

    fn from_bytes(fields: &[u8; FIELDS_BYTES]) -> Result<Self, UnusableHashes> {
        if fields[..7] != NAME {
            return Err(UnusableHashes::Damaged);
        }
        if fields[7] != VERSION {
            return Err(UnusableHashes::Version(fields[7]));
        }
        let mut session = [0; 16];
        session.copy_from_slice(&fields[8..24]);
        let mut numbers = fields[24..]
            .chunks_exact(8)
            .map(|field| field.iter().fold(0_u64, |value, byte| value << 8 | u64::from(*byte)));
        let mut next = || numbers.next().unwrap_or_default();
        let (edition, bytes, lines, hash) = (next(), next(), next(), next());
        Ok(Self { session, edition, bytes, lines, hash })
    }
}

/// An open file of row hashes that is whole.
#[derive(Debug)]
pub(super) struct RowHashes {
    header: Header,
    /// Reads the hashes.
    file: BufReader<File>,
}

impl RowHashes {
    /// Hashes the lines of a file of bets, and replaces the file of row hashes. It is on disk when
    /// the call returns. Returns the length of the file of bets.
    ///
    /// If it fails, an earlier file is unchanged.
    pub(super) fn write(
        path: &Path,
        session: [u8; 16],
        edition: u64,
        data: &File,
    ) -> Result<u64, FileError> {
        let next = next_path(path);
        let written = write_next(&next, session, edition, data);
        let renamed = written.and_then(|bytes| {
            fs::rename(&next, path)?;
            sync_directory(path)?;
            Ok(bytes)
        });
        if renamed.is_err() {
            // It may have filled the disk.
            let _ignored = fs::remove_file(&next);
        }
        renamed
    }

    /// Opens the file and checks that it is whole.
    pub(super) fn open(path: &Path) -> Result<Self, UnusableHashes> {
        let file = File::open(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => UnusableHashes::Missing,
            _ => error.into(),
        })?;
        let length = file.metadata()?.len();
        let mut file = BufReader::with_capacity(BUFFER_BYTES, file);
        let mut fields = [0; FIELDS_BYTES];
        let mut checksum = [0; 8];
        for part in [&mut fields[..], &mut checksum[..]] {
            file.read_exact(part).map_err(damaged_if_short)?;
        }
        let header = Header::from_bytes(&fields)?;
        let mut hasher = SipHasher13::new();
        io::copy(&mut file, &mut Sink(&mut hasher))?;
        hasher.write(&fields);
        let expected = header.lines.checked_mul(HASH_BYTES as u64);
        if expected.and_then(|hashes| hashes.checked_add(HEADER_BYTES as u64)) != Some(length)
            || hasher.finish().to_be_bytes() != checksum
        {
            return Err(UnusableHashes::Damaged);
        }
        Ok(Self { header, file })
    }

    /// Checks that the file belongs to a state.
    ///
    /// It is written before the state, so a run that died in between has left the next edition. The
    /// state is then still valid: nothing was sent after it.
    pub(super) fn check(&self, session: [u8; 16], edition: u64) -> Result<(), UnusableHashes> {
        if self.header.session != session {
            return Err(UnusableHashes::OtherSession);
        }
        let is_state_s =
            [Some(edition), edition.checked_add(1)].contains(&Some(self.header.edition));
        if is_state_s { Ok(()) } else { Err(UnusableHashes::OtherEdition) }
    }

    /// Compares the first `sent` bytes of the file of bets. Returns the offset of the first line
    /// that differs or is missing, or `None` if nothing has changed.
    ///
    /// The file may be longer. A line break at its end may be missing or new, but the line before
    /// it must not be longer.
    pub(super) fn first_change(
        &mut self,
        data: &File,
        sent: u64,
    ) -> Result<Option<u64>, FileError> {
        let Header { bytes, lines: count, hash, .. } = self.header;
        self.file.seek(SeekFrom::Start(HEADER_BYTES as u64)).map_err(FileError::Hashes)?;
        let sent = sent.min(bytes);
        let mut lines = Lines::new(data, bytes);
        let mut last = 0;
        for index in 0..count {
            let end = lines.position();
            if end >= sent {
                return Ok(None);
            }
            let mut half = [0; HASH_BYTES];
            self.file.read_exact(&mut half).map_err(FileError::Hashes)?;
            let half = u32::from_be_bytes(half);
            let is_same = |it: u64| it as u32 == half && (index + 1 < count || it == hash);
            let Some(line) = lines.next().map_err(FileError::Data)? else {
                return Ok(Some(end));
            };
            last = line.start;
            if is_same(line.hash) {
                continue;
            }
            let with_break = lines.hashes_with_break();
            let missing = with_break.into_iter().find(|(hash, _)| is_same(*hash));
            return Ok(match missing.filter(|_| lines.is_at_end()) {
                Some((_, length)) if lines.position() + length >= sent => None,
                Some(_) => Some(lines.position()),
                None => Some(line.start),
            });
        }
        let is_extended = !ends_a_line(data, bytes).map_err(FileError::Data)?;
        Ok(is_extended.then_some(last))
    }
}

/// Which of the two files could not be read or written.
#[derive(Debug)]
pub(super) enum FileError {
    /// The file of bets.
    Data(io::Error),
    /// The file of row hashes.
    Hashes(io::Error),
}

impl From<io::Error> for FileError {
    fn from(error: io::Error) -> Self {
        Self::Hashes(error)
    }
}

/// Writes the whole content to a new file. Returns the length of the file of bets.
fn write_next(next: &Path, session: [u8; 16], edition: u64, data: &File) -> Result<u64, FileError> {
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(MODE).open(next)?;
    let mut writer = BufWriter::with_capacity(BUFFER_BYTES, file);
    // The fields are known at the end.
    writer.write_all(&[0; HEADER_BYTES])?;
    let mut checksum = SipHasher13::new();
    let mut lines = Lines::new(data, u64::MAX);
    let (mut count, mut hash) = (0, 0);
    while let Some(line) = lines.next().map_err(FileError::Data)? {
        let half = (line.hash as u32).to_be_bytes();
        writer.write_all(&half)?;
        checksum.write(&half);
        (count, hash) = (count + 1, line.hash);
    }
    let bytes = lines.position();
    let fields = Header { session, edition, bytes, lines: count, hash }.to_bytes();
    checksum.write(&fields);
    let file = writer.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.write_all_at(&fields, 0)?;
    file.write_all_at(&checksum.finish().to_be_bytes(), FIELDS_BYTES as u64)?;
    file.sync_all()?;
    Ok(bytes)
}

/// Returns the path of the file of row hashes of a state.
pub(super) fn path_of(state: &Path) -> PathBuf {
    let mut path = state.as_os_str().to_owned();
    path.push(".rows");
    path.into()
}

fn damaged_if_short(error: io::Error) -> UnusableHashes {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => UnusableHashes::Damaged,
        _ => error.into(),
    }
}

/// Hashes what is written to it.
struct Sink<'h>(&'h mut SipHasher13);

impl Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
