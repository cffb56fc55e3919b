//! What may be shared: types that are plain bytes in any process, and how the directory names them.
#![allow(unsafe_code)]

use std::fmt;
use std::sync::atomic::{
    AtomicI8, AtomicI16, AtomicI32, AtomicI64, AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering,
};

/// Makes a structure one that processes can share: see the trait of the same name.
pub use shm_multiprocessing_derive::Shareable;

use crate::layout::ALIGNMENT;

/// A type that means the same in every process: any bytes are a valid value, and it has no padding, no pointers and no
/// destructor. Numbers and arrays of numbers are, and a structure of these becomes one by a derive:
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
/// The derive does not compile for what must not be shared:
///
/// | a field or structure | because |
/// |---|---|
/// | references, pointers, `Box`, `String`, `Vec` | an address means nothing in another process |
/// | `bool`, `char`, enums, `NonZeroU64`, `Option` | some bytes are no value of these, and whoever writes the segment can write any |
/// | padding between or behind the fields | what is in it is undefined, and it would be copied |
/// | a destructor | nobody owns what is shared |
/// | no `#[repr(C)]` | every program may order the fields differently |
/// | generic parameters, unions, no fields at all | the layout must be known, and one |
///
/// The derive expects this crate under its own name, `multiprocessing`.
///
/// # Safety
/// For an implementation by hand, which nothing needs: all of the above must hold, the size must be a multiple of the
/// element's, and no part of it may change through a shared reference.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be shared with other processes",
    note = "numbers, arrays of them, and structures of these with `#[derive(Clone, Copy, Shareable)]` and `#[repr(C)]` can"
)]
pub unsafe trait Shareable: Copy + 'static {
    /// The number type it is made of, as the segment's directory records it, for readers of any language: the one that all
    /// fields have, or bytes.
    const ELEMENT: ElementType;
}

/// How many numbers of its element type a `T` is made of.
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

/// A number that the processor reads and writes whole, for [`RawValue`](crate::RawValue) and [`RawArray`](crate::RawArray).
pub trait AtomicElement: Shareable + sealed::Atomic {}

/// The number types of the directory. The codes are part of the layout: never reuse one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[repr(u32)]
pub enum ElementType {
    /// `u8`
    U8 = 1,
    /// `u16`
    U16 = 2,
    /// `u32`
    U32 = 3,
    /// `u64`
    U64 = 4,
    /// `i8`
    I8 = 5,
    /// `i16`
    I16 = 6,
    /// `i32`
    I32 = 7,
    /// `i64`
    I64 = 8,
    /// `f32`
    F32 = 9,
    /// `f64`
    F64 = 10,
}

impl ElementType {
    const ALL: [Self; 10] = [
        Self::U8,
        Self::U16,
        Self::U32,
        Self::U64,
        Self::I8,
        Self::I16,
        Self::I32,
        Self::I64,
        Self::F32,
        Self::F64,
    ];

    /// The type of a directory code.
    pub(crate) fn from_code(code: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|element| *element as u32 == code)
    }

    /// Bytes of one element.
    pub const fn size(self) -> usize {
        match self {
            Self::U8 | Self::I8 => 1,
            Self::U16 | Self::I16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::U64 | Self::I64 | Self::F64 => 8,
        }
    }

    /// The type that all of these are, or bytes.
    #[doc(hidden)] // For the derive.
    pub const fn common(fields: &[Self]) -> Self {
        let [first, others @ ..] = fields else { return Self::U8 };
        let mut others = others;
        while let [next, rest @ ..] = others {
            if *next as u32 != *first as u32 {
                return Self::U8;
            }
            others = rest;
        }
        *first
    }

    /// The element's bytes, exactly [`size`](Self::size) of them, as a number.
    pub(crate) fn scalar(self, bytes: &[u8]) -> Scalar {
        let mut wide = [0; 8];
        wide[..bytes.len()].copy_from_slice(bytes);
        let unsigned = u64::from_ne_bytes(wide);
        let unused_bits = 64 - 8 * bytes.len() as u32;
        match self {
            Self::U8 | Self::U16 | Self::U32 | Self::U64 => Scalar::Unsigned(unsigned),
            Self::I8 | Self::I16 | Self::I32 | Self::I64 => {
                Scalar::Signed((unsigned << unused_bits).cast_signed() >> unused_bits)
            }
            Self::F32 => Scalar::Float(f32::from_bits(unsigned as u32).into()),
            Self::F64 => Scalar::Float(f64::from_bits(unsigned)),
        }
    }
}

impl fmt::Display for ElementType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::U8 => "u8",
            Self::U16 => "u16",
            Self::U32 => "u32",
            Self::U64 => "u64",
            Self::I8 => "i8",
            Self::I16 => "i16",
            Self::I32 => "i32",
            Self::I64 => "i64",
            Self::F32 => "f32",
            Self::F64 => "f64",
        })
    }
}

/// One element read by a tool that learns the type from the directory.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Scalar {
    /// From `u8` to `u64`.
    Unsigned(u64),
    /// From `i8` to `i64`.
    Signed(i64),
    /// `f32` or `f64`.
    Float(f64),
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsigned(value) => value.fmt(f),
            Self::Signed(value) => value.fmt(f),
            Self::Float(value) => value.fmt(f),
        }
    }
}

pub(crate) mod sealed {
    /// The operations of an atomic of the same size; sealed, because the memory behind it is cast to `Self::Cell`.
    pub trait Atomic: Sized {
        /// The standard library's atomic of the same size and representation.
        type Cell: 'static;
        fn load(cell: &Self::Cell) -> Self;
        fn store(cell: &Self::Cell, value: Self);
        fn fetch_add(cell: &Self::Cell, value: Self) -> Self;
        fn fetch_sub(cell: &Self::Cell, value: Self) -> Self;
        fn fetch_max(cell: &Self::Cell, value: Self) -> Self;
    }
}

macro_rules! atomic_elements {
    ($($type:ty, $cell:ty, $element:ident;)*) => {$(
        // SAFETY: an integer: any bytes are a value, and all of it is bytes.
        unsafe impl Shareable for $type {
            const ELEMENT: ElementType = ElementType::$element;
        }
        impl AtomicElement for $type {}
        // Acquire and release everywhere: a reader that sees a flag must see what was written before it.
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
// SAFETY: elements follow each other without padding, and are Shareable.
unsafe impl<T: Shareable, const N: usize> Shareable for [T; N] {
    const ELEMENT: ElementType = T::ELEMENT;
}

#[cfg(doctest)]
mod derived;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_reads_back_as_its_type() {
        for element in ElementType::ALL {
            assert_eq!(ElementType::from_code(element as u32), Some(element));
        }
        assert_eq!([0, 11, u32::MAX].map(ElementType::from_code), [None; 3]);
    }

    #[test]
    fn scalars_keep_their_sign_and_size() {
        assert_eq!(ElementType::I8.scalar(&(-1_i8).to_ne_bytes()), Scalar::Signed(-1));
        assert_eq!(ElementType::I64.scalar(&i64::MIN.to_ne_bytes()), Scalar::Signed(i64::MIN));
        assert_eq!(ElementType::U16.scalar(&7574_u16.to_ne_bytes()), Scalar::Unsigned(7574));
        assert_eq!(ElementType::F32.scalar(&1.5_f32.to_ne_bytes()), Scalar::Float(1.5));
    }
}
