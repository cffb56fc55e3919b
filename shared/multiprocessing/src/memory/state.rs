//! The state of a segment, as the objects in it see it.

use crate::memory::cell::atomic;
use crate::memory::element::sealed::Atomic;
use crate::memory::layout::{REMOVED, STATE_OFFSET};
use crate::sys::mapping::Place;

/// Returns true if the place is in a segment that this process opened by name and whose entry is
/// removed. The creator and its children removed it themselves and may go on.
pub(crate) fn is_removed(place: &Place) -> bool {
    place.is_opened()
        && u32::load(atomic::<u32>(&place.surroundings(), STATE_OFFSET / size_of::<u32>()))
            == REMOVED
}
