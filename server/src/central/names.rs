//! The names that a central relies on: the files of its storage, and its shared memory.

use super::{Central, Fatal, Files};
use crate::storage::Ledger;

impl Central<Files> {
    /// Fails if another program has deleted, replaced or shortened something that this central
    /// relies on by name. After that, no process acknowledges anything.
    pub fn check_names(&mut self) -> Result<(), Fatal> {
        self.check_durability()?;
        // The totals are read first, because the files only grow after that.
        let ledger = Ledger::from(self.shared.ledger.get());
        let drawn = self.was_drawn();
        let Self { waits, store, .. } = self;
        let checked = waits.heartbeat.on_disk(|| store.storage.check_names(&ledger, drawn));
        let storage = checked.map_err(Fatal::from);
        storage.and_then(|()| self.check_segment()).map_err(|lost| self.shared.note_failure(lost))
    }
}

impl<S> Central<S> {
    /// Fails if another program has deleted or replaced the entry of the shared memory.
    pub(super) fn check_segment(&self) -> Result<(), Fatal> {
        let segment = &self.shared.segment;
        // Without the supervisor, the first worker that ends removes the entry, as it must.
        if segment.has_entry() || !segment.creator_is_alive() {
            return Ok(());
        }
        Err(Fatal::NoSegmentEntry { name: segment.name().clone() })
    }
}
