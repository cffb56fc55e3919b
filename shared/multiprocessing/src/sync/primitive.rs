//! The trait that lets a segment plan, open and describe a primitive.

use crate::memory::layout::{ElementType, Object};
use crate::sys::mapping::Place;

/// What a plan records about an object besides its name, kind and element type.
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

/// How many processes can take part in one primitive at the same time by default.
pub(crate) const PARTICIPANTS: usize = 64;
/// Most participants that a primitive makes room for by itself.
pub(crate) const MOST_PARTICIPANTS: usize = 1024;

/// How many processes a plan makes room for in each primitive.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Participants(pub(crate) Option<usize>);

impl Participants {
    /// Returns the number that the plan names, or else a number that is enough for what the
    /// primitive promises, such as its units.
    pub(crate) fn for_all(self, promised: u64) -> usize {
        let promised = usize::try_from(promised).unwrap_or(usize::MAX);
        self.0.unwrap_or(promised.clamp(PARTICIPANTS, MOST_PARTICIPANTS))
    }

    /// Returns the number for a primitive that promises none.
    pub(crate) fn number(self) -> usize {
        self.for_all(0)
    }
}

/// A kind of shared object. Its handle also has a function `open`, which returns the handle of an
/// object of this kind and element type, or `None` if the rest of the object does not fit.
pub(crate) trait Primitive {
    /// The arguments that determine its size.
    type Size: Default + PartialEq;

    /// The element type that the directory names.
    const ELEMENT: ElementType;

    /// Plans an object in which this many processes take part at the same time. The error is the
    /// second half of a sentence that begins with the object.
    fn planned(size: Self::Size, participants: Participants) -> Result<Planned, String>;

    /// Returns the schema of its value, element or message, if that is a type of the program.
    fn schema() -> Option<String> {
        None
    }

    /// Returns the second half of an error that begins with the kind that was looked for.
    fn wanted() -> String {
        Self::ELEMENT.to_string()
    }

    /// Returns the size that was planned, which a declaration must match. `None` if the object does
    /// not keep it.
    fn size(&self) -> Option<Self::Size> {
        None
    }

    /// Works like [`wanted`](Self::wanted), for a look-up that also checks the size.
    fn wanted_with(_size: Self::Size) -> String {
        Self::wanted()
    }

    /// Describes the state of an object in words, for a primitive that consists of more than
    /// elements and a lock.
    fn describe(_place: &Place, _object: &Object) -> Option<String> {
        None
    }
}
