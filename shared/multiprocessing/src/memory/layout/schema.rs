//! The schema of a type, which a directory records: the type of a number, or the names, types and
//! offsets of the fields of a structure.

use std::fmt::Write;

/// A field of a structure: its name, the schema of its type without arrays, how many of these it
/// consists of, and its offset in bytes.
pub type Field<'a> = (&'a str, String, usize, usize);

/// Returns the schema of a structure, such as `{bets:u64@0,name:u8*16@8}`.
#[doc(hidden)] // For the derive.
pub fn structure(fields: &[Field]) -> String {
    let mut schema = String::from("{");
    for (name, of, count, offset) in fields {
        let separator = if schema.len() > 1 { "," } else { "" };
        let name = name.strip_prefix("r#").unwrap_or(name);
        let times = if *count == 1 { String::new() } else { format!("*{count}") };
        // Writing to a string cannot fail.
        let _ = write!(schema, "{separator}{name}:{of}{times}@{offset}");
    }
    schema + "}"
}

/// Returns true if it is the schema of a structure, which the element type does not tell.
pub(crate) fn is_structure(schema: &str) -> bool {
    schema.starts_with('{')
}

/// Returns the fingerprint of a schema: its 64-bit FNV-1a hash. 0 stands for an unknown schema.
pub(crate) fn fingerprint(schema: &str) -> u64 {
    let hash = |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    schema.bytes().fold(0xcbf2_9ce4_8422_2325, hash).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_are_those_of_fnv() {
        // From the test vectors of the algorithm's authors.
        assert_eq!(fingerprint("a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fingerprint("foobar"), 0x8594_4171_f739_67e8);
    }
}
