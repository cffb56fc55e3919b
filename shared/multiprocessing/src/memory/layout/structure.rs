//! The values of structures, read by the schema that the directory of a segment has of them.

use std::fmt;

use super::{ElementType, Scalar};

/// Deepest nesting of structures that is read. Any program can have written the schema.
const DEEPEST: usize = 16;

/// A structure as a tool reads it that learns the fields from the directory: their names and what
/// they hold, in the order of the schema.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Structure {
    /// The fields.
    pub fields: Vec<(String, FieldValue)>,
}

/// What a field of a [`Structure`] holds.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum FieldValue {
    /// A number.
    Number(Scalar),
    /// A structure.
    Structure(Structure),
    /// An array of these.
    Array(Vec<FieldValue>),
}

impl fmt::Display for Structure {
    /// `{bets: 9, name: [80, 101]}`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (name, value)) in self.fields.iter().enumerate() {
            write!(f, "{}{name}: {value}", if index == 0 { "{" } else { ", " })?;
        }
        f.write_str("}")
    }
}

impl fmt::Display for FieldValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Structure(structure) => structure.fmt(f),
            Self::Array(values) => {
                f.write_str("[")?;
                for (index, value) in values.iter().enumerate() {
                    write!(f, "{}{value}", if index == 0 { "" } else { ", " })?;
                }
                f.write_str("]")
            }
        }
    }
}

/// The fields of a structure: name, type, number of elements and offset.
struct Fields<'a>(Vec<(&'a str, FieldType<'a>, usize, usize)>);

enum FieldType<'a> {
    Number(ElementType),
    Structure(Fields<'a>),
}

/// Returns the structures that these bytes consist of. Returns `None` if the schema makes no sense,
/// or describes something of another size.
pub(crate) fn structures(schema: &str, bytes: &[u8]) -> Option<Vec<Structure>> {
    let (fields, "") = parse(schema, DEEPEST)? else { return None };
    let size = fields.size()?;
    if size == 0 || !bytes.len().is_multiple_of(size) {
        return None;
    }
    bytes.chunks_exact(size).map(|bytes| fields.read(bytes)).collect()
}

/// Parses the structure at the start of a schema. Returns what follows it, too.
fn parse(schema: &str, depth: usize) -> Option<(Fields<'_>, &str)> {
    let mut rest = schema.strip_prefix('{')?;
    let mut fields = Vec::new();
    loop {
        let (name, after) = rest.split_once(':')?;
        let (field, after) = if after.starts_with('{') {
            let (nested, after) = parse(after, depth.checked_sub(1)?)?;
            (FieldType::Structure(nested), after)
        } else {
            let (number, after) = after.split_at(after.find(['*', '@'])?);
            (FieldType::Number(ElementType::from_name(number)?), after)
        };
        let (count, offset) = after.split_once('@')?;
        let count = match count.strip_prefix('*') {
            Some(count) => count.parse().ok()?,
            None if count.is_empty() => 1,
            None => return None,
        };
        let (offset, after) = offset.split_at(offset.find([',', '}'])?);
        fields.push((name, field, count, offset.parse().ok()?));
        rest = match after.strip_prefix('}') {
            Some(rest) => return Some((Fields(fields), rest)),
            None => after.strip_prefix(',')?,
        };
    }
}

impl Fields<'_> {
    /// Returns the size of the structure, which has no padding: where its last field ends.
    fn size(&self) -> Option<usize> {
        let mut ends = self.0.iter().map(|(_, field, count, offset)| {
            field.size()?.checked_mul(*count)?.checked_add(*offset)
        });
        ends.try_fold(0, |size, end| Some(size.max(end?)))
    }

    fn read(&self, bytes: &[u8]) -> Option<Structure> {
        let read = |(name, field, count, offset): &(&str, FieldType, usize, usize)| {
            let (size, bytes) = (field.size()?, bytes.get(*offset..)?);
            let bytes = bytes.get(..size.checked_mul(*count)?)?;
            // A type without bytes could be repeated any number of times.
            let parts = bytes.chunks_exact((size > 0).then_some(size)?);
            let mut values = parts.map(|part| field.read(part)).collect::<Option<Vec<_>>>()?;
            let value = match *count {
                1 => values.pop()?,
                _ => FieldValue::Array(values),
            };
            Some(((*name).to_owned(), value))
        };
        Some(Structure { fields: self.0.iter().map(read).collect::<Option<_>>()? })
    }
}

impl FieldType<'_> {
    fn size(&self) -> Option<usize> {
        match self {
            Self::Number(element) => Some(element.size()),
            Self::Structure(fields) => fields.size(),
        }
    }

    fn read(&self, bytes: &[u8]) -> Option<FieldValue> {
        match self {
            Self::Number(element) => Some(FieldValue::Number(element.scalar(bytes))),
            Self::Structure(fields) => fields.read(bytes).map(FieldValue::Structure),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_structure_is_read_by_its_schema() {
        let schema = "{bets:u64@0,name:u8*2@8,at:{x:i16@0,y:i16@2}*2@10,0:i16@18}";
        let mut bytes = 9_u64.to_ne_bytes().to_vec();
        bytes.extend(b"Pe");
        for number in [1_i16, -2, 3, -4, 5] {
            bytes.extend(number.to_ne_bytes());
        }
        let shown = "{bets: 9, name: [80, 101], at: [{x: 1, y: -2}, {x: 3, y: -4}], 0: 5}";
        let twice = structures(schema, &bytes.repeat(2)).unwrap();
        assert_eq!(twice.iter().map(ToString::to_string).collect::<Vec<_>>(), [shown; 2]);
        assert_eq!(structures(schema, &bytes[1..]), None, "not whole");
    }

    #[test]
    fn a_schema_that_makes_no_sense_is_refused() {
        let deep = "{a:".repeat(100_000);
        for schema in [
            "",
            "{",
            "{}",
            "{a}",
            "{a:u64}",
            "{a:u65@0}",
            "{a:u64@0",
            "{a:u64@0}x",
            "{a:u8*0@0}",
            "{a:u64@-1}",
            "{a:u8*99999999999999999999@0}",
            "{a:{b:u64@0}*18446744073709551615@8}",
            "{a:{b:u8*0@0}*9@0,c:u64@0}",
            &deep,
        ] {
            assert_eq!(structures(schema, &[0; 8]), None, "{schema:.40}");
        }
    }
}
