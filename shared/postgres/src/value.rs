//! The values of a row in the binary format, with the type that the caller expects.

use fallible_iterator::FallibleIterator;
use postgres_protocol::message::backend::DataRowBody;
use postgres_protocol::{Oid, types};

use crate::param::oid;
use crate::reply::Column;

/// Why a value of a row cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// There is no such column.
    #[error("column {0} of a row of {1}")]
    NoColumn(usize, usize),
    /// The column has another type.
    #[error("column {0} has type {1}, not {2}")]
    WrongType(String, Oid, &'static str),
    /// The value is `NULL`.
    #[error("column {0} is NULL")]
    Null(String),
    /// The bytes are not a value of the type.
    #[error("column {0} has {1} bytes that are not {2}")]
    Malformed(String, usize, &'static str),
}

/// A type that a value of a row can have.
///
/// `i16` reads `smallint`, `i32` `integer`, `i64` `bigint`, `bool` `boolean`, `&[u8]` `bytea`,
/// `&str` and `String` `text`, `varchar`, `char(n)` and `name`, a `Vec` the array of one of
/// them, and an `Option` also `NULL`. There are no conversions: `sum(bigint)` is `numeric` and
/// needs a cast.
pub trait FromValue<'a>: Sized {
    /// Reads the bytes of a value of the column, which are `None` for `NULL`.
    #[doc(hidden)]
    fn read(column: &Column, bytes: Option<&'a [u8]>) -> Result<Self, ValueError>;
}

/// Returns the bytes of a value; `None` is `NULL`. The connection has checked the row.
pub(crate) fn bytes(body: &DataRowBody, index: usize) -> Option<&[u8]> {
    let range = body.ranges().nth(index).ok()???;
    body.buffer().get(range)
}

/// Checks the type of a column and returns the bytes of the value, which must not be `NULL`.
fn checked<'a>(
    column: &Column,
    bytes: Option<&'a [u8]>,
    accepted: &[Oid],
    name: &'static str,
) -> Result<&'a [u8], ValueError> {
    // Text is the same in both formats.
    let readable = column.is_binary || name == TEXT;
    if !readable || !accepted.contains(&column.oid) {
        return Err(ValueError::WrongType(column.name.clone(), column.oid, name));
    }
    bytes.ok_or_else(|| ValueError::Null(column.name.clone()))
}

fn malformed(column: &Column, bytes: &[u8], name: &'static str) -> ValueError {
    ValueError::Malformed(column.name.clone(), bytes.len(), name)
}

const TEXT: &str = "text";

/// Implements [`FromValue`] for the types whose bytes a function of the protocol crate reads.
macro_rules! from_value {
    ($($type:ty, $oids:expr, $name:expr, $read:expr;)*) => { $(
        impl<'a> FromValue<'a> for $type {
            fn read(column: &Column, bytes: Option<&'a [u8]>) -> Result<Self, ValueError> {
                let bytes = checked(column, bytes, &$oids, $name)?;
                $read(bytes).map_err(|_| malformed(column, bytes, $name))
            }
        }
    )* };
}

/// Reads `bytea`, whose bytes are the value.
fn raw(bytes: &[u8]) -> Result<&[u8], std::convert::Infallible> {
    Ok(bytes)
}

from_value! {
    i16, [oid::INT2], "smallint", types::int2_from_sql;
    i32, [oid::INT4], "integer", types::int4_from_sql;
    i64, [oid::INT8], "bigint", types::int8_from_sql;
    bool, [oid::BOOL], "boolean", types::bool_from_sql;
    &'a [u8], [oid::BYTEA], "bytea", raw;
    &'a str, [oid::TEXT, oid::VARCHAR, oid::BPCHAR, oid::NAME], TEXT, types::text_from_sql;
}

impl<'a> FromValue<'a> for String {
    fn read(column: &Column, bytes: Option<&'a [u8]>) -> Result<Self, ValueError> {
        <&str>::read(column, bytes).map(str::to_owned)
    }
}

impl<'a, T: FromValue<'a>> FromValue<'a> for Option<T> {
    fn read(column: &Column, bytes: Option<&'a [u8]>) -> Result<Self, ValueError> {
        match T::read(column, bytes) {
            Err(ValueError::Null(_)) => Ok(None),
            read => read.map(Some),
        }
    }
}

/// Implements [`FromValue`] for arrays without `NULL`.
macro_rules! from_array {
    ($($element:ty, $array:expr, $oid:expr, $name:expr;)*) => { $(
        impl<'a> FromValue<'a> for Vec<$element> {
            fn read(column: &Column, bytes: Option<&'a [u8]>) -> Result<Self, ValueError> {
                let bytes = checked(column, bytes, &[$array], $name)?;
                let wrong = || malformed(column, bytes, $name);
                let array = types::array_from_sql(bytes).map_err(|_| wrong())?;
                let mut values = array.values();
                let element =
                    Column { name: column.name.clone(), oid: $oid, is_binary: true };
                // The length that the array states is not trusted: no capacity is reserved.
                let mut read = Vec::new();
                while let Some(value) = values.next().map_err(|_| wrong())? {
                    read.push(FromValue::read(&element, value)?);
                }
                Ok(read)
            }
        }
    )* };
}

from_array! {
    i32, oid::INT4_ARRAY, oid::INT4, "integer[]";
    i64, oid::INT8_ARRAY, oid::INT8, "bigint[]";
    &'a str, oid::TEXT_ARRAY, oid::TEXT, "text[]";
    &'a [u8], oid::BYTEA_ARRAY, oid::BYTEA, "bytea[]";
}
