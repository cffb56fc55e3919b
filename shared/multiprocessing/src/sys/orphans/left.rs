//! The entries that a process leaves to a child that does not have its memory.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::Ordering;

use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use super::{CLAIMED, NO_GENERATION, RemovableSegment, SEGMENTS, adopt_segments, claim_slot};
use crate::sys::generation::generation;

/// An entry that a process hands over to a child that executes a program, so that the child removes
/// it if its parent is killed.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct LeftSegment {
    path: Vec<u8>,
    inode: u64,
    started: u64,
}

impl LeftSegment {
    /// Returns the entries that this process has created.
    pub(crate) fn of_this() -> Vec<Self> {
        adopt_segments();
        let is_own = |slot: &&RemovableSegment| {
            slot.creator.load(Ordering::Acquire) == generation()
                && !matches!(slot.inode.load(Ordering::Acquire), 0 | CLAIMED)
        };
        let path = |slot: &RemovableSegment| {
            let bytes = slot.path.iter().map(|byte| byte.load(Ordering::Relaxed));
            bytes.take_while(|byte| *byte != 0).collect()
        };
        let left = |slot: &RemovableSegment| Self {
            path: path(slot),
            inode: slot.inode.load(Ordering::Acquire),
            started: slot.started.load(Ordering::Acquire),
        };
        SEGMENTS.iter().filter(is_own).map(left).collect()
    }

    /// Records the entry in a new child of the process that has created it.
    pub(crate) fn take_over(&self, creator: Pid) {
        let Some(slot) = claim_slot() else { return };
        slot.note(Path::new(OsStr::from_bytes(&self.path)));
        slot.pid.store(creator.as_raw(), Ordering::Release);
        slot.started.store(self.started, Ordering::Release);
        slot.creator.store(NO_GENERATION, Ordering::Release);
        slot.inode.store(self.inode, Ordering::Release);
    }
}
