//! The number types that a directory names, and the numbers that are read by them.

use std::fmt;

/// A number type of the directory. The codes are part of the layout: never reuse one.
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

    /// Returns the type of a directory code.
    pub(crate) fn from_code(code: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|element| *element as u32 == code)
    }

    /// Returns the type of a name in a schema.
    pub(super) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|element| element.name() == name)
    }

    /// Returns the bytes of one element.
    pub const fn size(self) -> usize {
        match self {
            Self::U8 | Self::I8 => 1,
            Self::U16 | Self::I16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::U64 | Self::I64 | Self::F64 => 8,
        }
    }

    /// Returns the type that all of these are, or bytes if they differ.
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

    /// Returns the element's bytes, exactly [`size`](Self::size) of them, as a number.
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
        f.pad(self.name())
    }
}

impl ElementType {
    fn name(self) -> &'static str {
        match self {
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
        }
    }
}

/// One element, as a tool reads it that learns the type from the directory.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Scalar {
    /// A number from `u8` to `u64`.
    Unsigned(u64),
    /// A number from `i8` to `i64`.
    Signed(i64),
    /// A number of type `f32` or `f64`.
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
