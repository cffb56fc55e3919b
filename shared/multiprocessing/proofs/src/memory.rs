//! Memory whose words are atomics of loom.

pub(crate) mod cell;

pub(crate) mod element {
    pub(crate) use multiprocessing::Shareable;

    pub(crate) const fn check_copied<T: Shareable>() {}

    pub(crate) const fn elements_in<T: Shareable>() -> usize {
        size_of::<T>() / T::ELEMENT.size()
    }
}

/// No segment of a model is removed.
pub(crate) mod state {
    use crate::sys::mapping::Place;

    pub(crate) fn is_removed(_: &Place) -> bool {
        false
    }
}

pub(crate) mod layout {
    pub(crate) use multiprocessing::ElementType;

    pub(crate) const LOCK_BYTES: usize = 64;
    pub(crate) const HEAD_BYTES: usize = 64;
    pub(crate) const SIGNAL_BYTES: usize = 64;
    pub(crate) const ROW_BYTES: usize = 32;

    /// What the sources use of a directory entry.
    pub(crate) struct Object {
        pub(crate) element: ElementType,
        pub(crate) length: usize,
    }
}
