//! The types that processes can share: plain bytes in any process, with a number type in the
//! directory.
#![allow(unsafe_code)]

use std::sync::atomic::{
    AtomicI8, AtomicI16, AtomicI32, AtomicI64, AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering,
};

pub use shm_multiprocessing_derive::Shareable;

use crate::memory::layout::{ALIGNMENT, ElementType};

/// A type with the same meaning in every process: any bytes are a valid value, and it has no
/// padding, no pointers and no destructor. Numbers and arrays of numbers are such types. A derive
/// implements the trait for structures of them:
///
/// ```
/// use multiprocessing::{Plan, Segment, SegmentName, Shareable};
///
/// #[derive(Clone, Copy, Shareable)]
/// #[repr(C)]
/// struct Progress {
///     bets: u64,
///     agencies: u32,
///     slowest_ms: u32,
/// }
///
/// let name = SegmentName::new(&format!("doc.shareable.{}", std::process::id()))?;
/// let segment = Segment::create(&name, &Plan::new().value::<Progress>("progress"))?;
/// let progress = segment.value::<Progress>("progress")?;
/// progress.update(|now| now.slowest_ms = now.slowest_ms.max(35))?;
/// assert_eq!(progress.get().slowest_ms, 35);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// The derive does not compile for a type that must not be shared:
///
/// | refused | because |
/// |---|---|
/// | references, pointers, `Box`, `String`, `Vec` | an address means nothing in another process |
/// | `bool`, `char`, enums, `NonZeroU64`, `Option` | some bytes are no value of these types |
/// | padding between or behind the fields | its bytes are undefined, and they would be copied |
/// | a destructor | no process owns what is shared |
/// | no `#[repr(C)]` | every program may order the fields differently |
/// | generic parameters, unions, no fields at all | there must be one known layout |
///
/// The derive expects this crate under its own name, `multiprocessing`.
///
/// # Safety
/// A manual implementation, which no program needs, must meet all of these requirements. The size
/// of the type must be a multiple of the size of its element, and no part of a value may change
/// through a shared reference.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be shared with other processes",
    note = "numbers, arrays of them, and structures of these with `#[derive(Clone, Copy, Shareable)]` and `#[repr(C)]` can"
)]
pub unsafe trait Shareable: Copy + 'static {
    /// The number type that the directory of the segment records, for readers in any language: the
    /// type of all fields, or bytes if they differ.
    const ELEMENT: ElementType;

    /// Bytes of the type, or of an element if it is an array.
    #[doc(hidden)] // For the derive.
    const BASE_BYTES: usize = size_of::<Self>();

    /// Returns the schema of the type, or of an element if it is an array, for the directory.
    #[doc(hidden)] // For the derive.
    fn schema() -> String {
        Self::ELEMENT.to_string()
    }
}

/// Returns how many numbers of its element type a `T` consists of.
pub(crate) const fn elements_in<T: Shareable>() -> usize {
    const {
        assert!(size_of::<T>() > 0, "a type without bytes has nothing to share");
        assert!(
            size_of::<T>().is_multiple_of(T::ELEMENT.size()),
            "a type is a number of whole elements"
        );
        assert!(align_of::<T>() <= ALIGNMENT, "objects are not aligned to more than 64 bytes");
    }
    size_of::<T>() / T::ELEMENT.size()
}

/// Most bytes of what is copied as a whole, on the stack: a value or a message.
pub(crate) const MOST_COPIED: usize = 64 * 1024;

/// Checks, while the program is compiled, that a `T` may be copied as a whole.
pub(crate) const fn check_copied<T: Shareable>() {
    const {
        assert!(
            size_of::<T>() <= MOST_COPIED,
            "a value or a message has at most 64 KiB, because it is copied on the stack: use an \
             `Array`, which is changed in place"
        );
    }
}

/// A number that the processor reads and writes in one step, for [`RawValue`](crate::RawValue) and
/// [`RawArray`](crate::RawArray).
pub trait AtomicElement: Shareable + sealed::Atomic {}

pub(crate) mod sealed {
    /// The operations of an atomic of the same size. Sealed, because the memory behind it is cast
    /// to `Self::Cell`.
    pub trait Atomic: Sized {
        /// The atomic of the standard library with the same size and representation.
        type Cell: 'static;
        fn load(cell: &Self::Cell) -> Self;
        fn store(cell: &Self::Cell, value: Self);
        fn fetch_add(cell: &Self::Cell, value: Self) -> Self;
        fn fetch_sub(cell: &Self::Cell, value: Self) -> Self;
        fn fetch_max(cell: &Self::Cell, value: Self) -> Self;
        fn compare_exchange(cell: &Self::Cell, current: Self, new: Self) -> Result<Self, Self>;
    }
}

macro_rules! atomic_elements {
    ($($type:ty, $cell:ty, $element:ident;)*) => {$(
        // SAFETY: the type is an integer, so any bytes are a value and all of it is bytes.
        unsafe impl Shareable for $type {
            const ELEMENT: ElementType = ElementType::$element;
        }
        impl AtomicElement for $type {}
        // Acquire and release everywhere: a reader that sees a flag must also see what was written
        // before the flag.
        impl sealed::Atomic for $type {
            type Cell = $cell;
            fn load(cell: &$cell) -> Self {
                cell.load(Ordering::Acquire)
            }
            fn store(cell: &$cell, value: Self) {
                cell.store(value, Ordering::Release);
            }
            fn fetch_add(cell: &$cell, value: Self) -> Self {
                cell.fetch_add(value, Ordering::AcqRel)
            }
            fn fetch_sub(cell: &$cell, value: Self) -> Self {
                cell.fetch_sub(value, Ordering::AcqRel)
            }
            fn fetch_max(cell: &$cell, value: Self) -> Self {
                cell.fetch_max(value, Ordering::AcqRel)
            }
            fn compare_exchange(cell: &$cell, current: Self, new: Self) -> Result<Self, Self> {
                cell.compare_exchange(current, new, Ordering::AcqRel, Ordering::Acquire)
            }
        }
    )*};
}

atomic_elements! {
    u8, AtomicU8, U8;
    u16, AtomicU16, U16;
    u32, AtomicU32, U32;
    u64, AtomicU64, U64;
    i8, AtomicI8, I8;
    i16, AtomicI16, I16;
    i32, AtomicI32, I32;
    i64, AtomicI64, I64;
}

// SAFETY: any bytes are a number or a NaN, and all of it is bytes.
unsafe impl Shareable for f32 {
    const ELEMENT: ElementType = ElementType::F32;
}
// SAFETY: as `f32`.
unsafe impl Shareable for f64 {
    const ELEMENT: ElementType = ElementType::F64;
}
// SAFETY: elements follow each other without padding, and are `Shareable`.
unsafe impl<T: Shareable, const N: usize> Shareable for [T; N] {
    const ELEMENT: ElementType = T::ELEMENT;
    const BASE_BYTES: usize = T::BASE_BYTES;

    fn schema() -> String {
        T::schema()
    }
}

#[cfg(doctest)]
mod derived;
