//! The record that the preloaded library writes: every change of the files, every sync and every
//! reply, in the order in which they happened.

use std::fs;
use std::path::Path;

/// Bytes before the name in a record.
const HEADER_BYTES: usize = 24;

/// One operation on a file of the storage, or a reply.
#[derive(Clone, Debug)]
pub struct Operation {
    /// What was done.
    pub action: Action,
    /// Name of the file; `.` for the directory.
    pub name: String,
    /// Process that did it.
    pub pid: u32,
}

/// What an operation did.
#[derive(Clone, Debug)]
pub enum Action {
    /// Created the file.
    Create,
    /// Wrote bytes at an offset.
    Write(u64, Vec<u8>),
    /// Cut or extended the file to a length.
    Truncate(u64),
    /// Gave the file another name.
    Rename(String),
    /// Removed the file.
    Unlink,
    /// Began a sync.
    SyncBegins,
    /// Ended a sync: everything before its beginning is on the disk.
    SyncEnds,
    /// A sync failed.
    SyncFails,
    /// Sent the beginning of a reply.
    Reply(Vec<u8>),
}

/// Reads the record.
pub fn read(log: &Path) -> Vec<Operation> {
    let bytes = fs::read(log).unwrap();
    let mut rest = &bytes[..];
    let mut operations = Vec::new();
    while !rest.is_empty() {
        let (header, later) = rest.split_at(HEADER_BYTES);
        let number = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().unwrap());
        let name_length = u16::from_le_bytes([header[4], header[5]]);
        let (name, later) = later.split_at(name_length.into());
        let (data, later) = later.split_at(number(0) as usize);
        let offset = u64::from_le_bytes(header[16..].try_into().unwrap());
        let action = match header[6] {
            b'c' => Action::Create,
            b'w' => Action::Write(offset, data.to_vec()),
            b't' => Action::Truncate(offset),
            b'r' => Action::Rename(String::from_utf8(data.to_vec()).unwrap()),
            b'u' => Action::Unlink,
            b'b' => Action::SyncBegins,
            b'e' => Action::SyncEnds,
            b'f' => Action::SyncFails,
            b'a' => Action::Reply(data.to_vec()),
            other => panic!("unknown operation {other}"),
        };
        let name = String::from_utf8(name.to_vec()).unwrap();
        operations.push(Operation { action, name, pid: number(8) });
        rest = later;
    }
    operations
}
