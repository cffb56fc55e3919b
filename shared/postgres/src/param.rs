//! The parameters of a statement, and their binary form.

use bytes::{BufMut, BytesMut};
use postgres_protocol::{IsNull, Oid, types};

/// Object identifiers of the types of `pg_type` that this crate reads and writes.
pub(crate) mod oid {
    use super::Oid;

    pub(crate) const BOOL: Oid = 16;
    pub(crate) const BYTEA: Oid = 17;
    pub(crate) const NAME: Oid = 19;
    pub(crate) const INT8: Oid = 20;
    pub(crate) const INT2: Oid = 21;
    pub(crate) const INT4: Oid = 23;
    pub(crate) const TEXT: Oid = 25;
    pub(crate) const BYTEA_ARRAY: Oid = 1001;
    pub(crate) const INT4_ARRAY: Oid = 1007;
    pub(crate) const TEXT_ARRAY: Oid = 1009;
    pub(crate) const INT8_ARRAY: Oid = 1016;
    pub(crate) const BPCHAR: Oid = 1042;
    pub(crate) const VARCHAR: Oid = 1043;
}

/// A parameter of a statement. Its variant decides the type of the SQL parameter, so a value of
/// another type needs a cast in the statement: `$1::timestamptz` does not take a `Text`, and
/// `$1::text::timestamptz` does.
#[derive(Clone, Copy, Debug)]
pub enum Param<'a> {
    /// `smallint`.
    I16(i16),
    /// `integer`.
    I32(i32),
    /// `bigint`.
    I64(i64),
    /// `boolean`.
    Bool(bool),
    /// `text`.
    Text(&'a str),
    /// `bytea`.
    Bytes(&'a [u8]),
    /// `integer[]`.
    I32s(&'a [i32]),
    /// `bigint[]`.
    I64s(&'a [i64]),
    /// `text[]`.
    Texts(&'a [&'a str]),
    /// `bytea[]`.
    BytesArray(&'a [&'a [u8]]),
    /// `NULL` of the type of another parameter, whose value does not matter.
    Null(&'a Param<'a>),
}

impl Param<'_> {
    /// Returns the SQL type.
    pub(crate) fn oid(&self) -> Oid {
        match self {
            Self::I16(_) => oid::INT2,
            Self::I32(_) => oid::INT4,
            Self::I64(_) => oid::INT8,
            Self::Bool(_) => oid::BOOL,
            Self::Text(_) => oid::TEXT,
            Self::Bytes(_) => oid::BYTEA,
            Self::I32s(_) => oid::INT4_ARRAY,
            Self::I64s(_) => oid::INT8_ARRAY,
            Self::Texts(_) => oid::TEXT_ARRAY,
            Self::BytesArray(_) => oid::BYTEA_ARRAY,
            Self::Null(of) => of.oid(),
        }
    }

    /// Returns an upper bound of the number of bytes that [`Param::write`] appends.
    pub(crate) fn size(&self) -> usize {
        /// Dimensions, flag, element type, length, lower bound.
        const ARRAY_HEADER: usize = 20;
        ARRAY_HEADER
            + match self {
                Self::Text(text) => text.len(),
                Self::Bytes(bytes) => bytes.len(),
                Self::I32s(values) => values.len() * 8,
                Self::I64s(values) => values.len() * 12,
                Self::Texts(values) => values.iter().map(|value| 4 + value.len()).sum(),
                Self::BytesArray(values) => values.iter().map(|value| 4 + value.len()).sum(),
                _ => 8,
            }
    }

    /// Appends the binary form.
    pub(crate) fn write(&self, out: &mut BytesMut) -> IsNull {
        match *self {
            Self::I16(value) => types::int2_to_sql(value, out),
            Self::I32(value) => types::int4_to_sql(value, out),
            Self::I64(value) => types::int8_to_sql(value, out),
            Self::Bool(value) => types::bool_to_sql(value, out),
            Self::Text(text) => types::text_to_sql(text, out),
            Self::Bytes(bytes) => types::bytea_to_sql(bytes, out),
            Self::I32s(values) => {
                write_array(oid::INT4, values.iter().map(|value| value.to_be_bytes()), out);
            }
            Self::I64s(values) => {
                write_array(oid::INT8, values.iter().map(|value| value.to_be_bytes()), out);
            }
            Self::Texts(values) => write_array(oid::TEXT, values.iter(), out),
            Self::BytesArray(values) => write_array(oid::BYTEA, values.iter(), out),
            Self::Null(_) => return IsNull::Yes,
        }
        IsNull::No
    }
}

/// Appends an array of one dimension whose first index is 1. The caller has checked that the whole
/// request is smaller than the largest length of the protocol.
fn write_array(
    element: Oid,
    values: impl ExactSizeIterator<Item = impl AsRef<[u8]>>,
    out: &mut BytesMut,
) {
    // An empty array has no dimension.
    out.put_i32(i32::from(values.len() > 0));
    out.put_i32(0);
    out.put_u32(element);
    if values.len() == 0 {
        return;
    }
    out.put_i32(values.len() as i32);
    out.put_i32(1);
    for value in values {
        out.put_i32(value.as_ref().len() as i32);
        out.put_slice(value.as_ref());
    }
}
