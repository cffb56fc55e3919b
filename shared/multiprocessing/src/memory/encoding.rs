//! The encoding of values in messages.

use std::error::Error;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Why a value cannot be encoded or decoded.
pub(crate) type EncodingError = Box<dyn Error + Send + Sync>;

/// Initial room for an encoded value: growing to the size of a small structure costs a tenth of
/// sending it.
const COMMON_BYTES: usize = 256;

/// Encodes a value.
pub(crate) fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, EncodingError> {
    Ok(postcard::to_extend(value, Vec::with_capacity(COMMON_BYTES))?)
}

/// Decodes a value from these bytes, which must hold nothing else.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, EncodingError> {
    match postcard::take_from_bytes(bytes)? {
        (value, []) => Ok(value),
        (_, rest) => Err(format!("{} bytes are too many", rest.len()).into()),
    }
}
