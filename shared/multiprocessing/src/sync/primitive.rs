//! What a segment must know about a primitive to plan and to show one.

use crate::memory::layout::{ElementType, Object};
use crate::sys::mapping::Place;

/// What a plan says about an object, beside its name, kind and element type.
pub(crate) struct Planned {
    /// Number of elements.
    pub(crate) length: usize,
    /// Number of rows that the length does not count.
    pub(crate) rows: usize,
    /// First numbers of the record, if it has one.
    pub(crate) head: [u64; 2],
}

impl Planned {
    /// Returns the plan of this many elements without a record.
    pub(crate) fn elements(length: usize) -> Self {
        Self { length, rows: 0, head: [0; 2] }
    }
}

/// A kind of shared object. Its handle also has a function `open`, which returns the handle of an
/// object of this kind and element type, or `None` if the rest of the object does not fit.
pub(crate) trait Primitive {
    /// What a plan says about its size.
    type Size: Default + PartialEq;

    /// The element type that the directory names.
    const ELEMENT: ElementType;

    /// Plans an object in which up to `participants` processes take part at the same time. The
    /// error is the second half of a sentence that begins with the object.
    fn planned(size: Self::Size, participants: usize) -> Result<Planned, String>;

    /// Returns the second half of an error that begins with the kind that was looked for.
    fn wanted() -> String {
        Self::ELEMENT.to_string()
    }

    /// Returns what the plan said about its size, which a declaration must agree with. `None` if
    /// the object does not keep it.
    fn size(&self) -> Option<Self::Size> {
        None
    }

    /// Returns what [`wanted`](Self::wanted) does, if the size was looked for too.
    fn wanted_with(_size: Self::Size) -> String {
        Self::wanted()
    }

    /// Returns in words how an object stands, for a primitive that is more than its elements and a
    /// lock.
    fn describe(_place: &Place, _object: &Object) -> Option<String> {
        None
    }
}
