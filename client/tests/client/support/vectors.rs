//! The byte vectors of the specification, and the table of dialects.

use lottery::protocol::{DIALECTS, Dialect};
use serde_json::Value;

/// The vectors in hexadecimal, by dialect and name.
const VECTORS: &str = include_str!("../../../../shared/lottery/tests/vectors.json");

/// Returns the bytes of a vector.
pub(crate) fn vector(dialect: &str, name: &str) -> Vec<u8> {
    let vectors: Value = serde_json::from_str(VECTORS).unwrap();
    let text =
        vectors[dialect][name].as_str().unwrap_or_else(|| panic!("no vector {dialect} {name}"));
    let byte = |at| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(byte).collect()
}

/// Returns the dialects that carry bets and for which `holds` is true. Fails if there is none.
pub(crate) fn dialects_that(holds: impl Fn(&Dialect) -> bool) -> Vec<&'static Dialect> {
    let found: Vec<_> =
        DIALECTS.iter().filter(|dialect| dialect.agency.is_some() && holds(dialect)).collect();
    assert!(!found.is_empty());
    found
}
