//! How a process leaves a barrier, so that its end does not count as the death of a party.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::round::Rounds;
use crate::sync::participant::Identity;
use crate::sync::record::Record;

/// The part that all clones of a barrier's handle share. Dropping the last clone in a process
/// removes the process from the parties.
pub(super) struct Membership {
    record: Record<Rounds>,
    /// The process that waits through this handle. Forked children have a copy that names their
    /// parent.
    process: AtomicU64,
}

/// The handles through which this process waits. A forked child inherits its parent's, and ignores
/// them.
static JOINED: Mutex<Vec<Weak<Membership>>> = Mutex::new(Vec::new());

/// Leaves every barrier. Called at the normal end of a forked child, which does not drop the
/// handles that belong to its parent.
pub(crate) fn leave_all() {
    let joined = std::mem::take(&mut *JOINED.lock().unwrap_or_else(PoisonError::into_inner));
    joined.iter().filter_map(Weak::upgrade).for_each(|membership| membership.leave());
}

impl Membership {
    pub(super) fn new(record: Record<Rounds>) -> Self {
        Self { record, process: AtomicU64::new(0) }
    }

    pub(super) fn record(&self) -> &Record<Rounds> {
        &self.record
    }

    /// Records that the calling process waits through this handle.
    pub(super) fn joins(self: &Arc<Self>, process: Identity) {
        let own = process.key();
        if self.process.load(Ordering::Relaxed) != own
            && self.process.swap(own, Ordering::Relaxed) != own
        {
            let mut joined = JOINED.lock().unwrap_or_else(PoisonError::into_inner);
            joined.retain(|membership| membership.strong_count() > 0);
            joined.push(Arc::downgrade(self));
        }
    }

    fn leave(&self) {
        // A process without an identity has never waited.
        let Ok(own) = Identity::own() else { return };
        if self.process.load(Ordering::Relaxed) == own.key() {
            // If this fails, the end of this process counts as a death, which the others report.
            let _ = self.record.update(|rounds| rounds.leave(own));
        }
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.leave();
    }
}
