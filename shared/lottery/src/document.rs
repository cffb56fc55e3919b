//! The identity document of a bet: text in most dialects, an integer in the binary ones.

use std::fmt;

/// An identity document. Two documents are equal if their texts are equal: the number 5 equals the
/// text "5".
#[derive(Clone, Copy)]
pub struct Document<'a>(Source<'a>);

#[derive(Clone, Copy)]
enum Source<'a> {
    Text(&'a str),
    /// Binary dialects have no text on the wire that the document could borrow.
    Number(Digits),
}

/// The decimal digits of a number, stored inline so that decoding a bet does not allocate.
#[derive(Clone, Copy)]
struct Digits {
    /// ASCII digits; the ones after the first `length` are unused.
    bytes: [u8; Self::MAX],
    length: u8,
}

impl Digits {
    /// Digits of `u32::MAX`.
    const MAX: usize = 10;

    fn of(number: u32) -> Self {
        let mut buffer = itoa::Buffer::new();
        let text = buffer.format(number).as_bytes();
        let mut bytes = [b'0'; Self::MAX];
        bytes[..text.len()].copy_from_slice(text);
        Self { bytes, length: text.len() as u8 }
    }

    fn as_str(&self) -> &str {
        // ASCII digits are valid UTF-8, so the default is never used.
        std::str::from_utf8(&self.bytes[..self.length.into()]).unwrap_or_default()
    }
}

impl Document<'_> {
    /// Returns the document as text.
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Source::Text(text) => text,
            Source::Number(digits) => digits.as_str(),
        }
    }
}

impl<'a> From<&'a str> for Document<'a> {
    fn from(text: &'a str) -> Self {
        Self(Source::Text(text))
    }
}

impl From<u32> for Document<'_> {
    /// Returns the document whose text is `number` without leading zeros.
    fn from(number: u32) -> Self {
        Self(Source::Number(Digits::of(number)))
    }
}

impl PartialEq for Document<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Document<'_> {}

impl fmt::Debug for Document<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for Document<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_number_equals_a_text_with_the_same_digits() {
        assert_eq!(Document::from(30_904_465), Document::from("30904465"));
        assert_ne!(Document::from(5), Document::from("05"));
    }

    #[test]
    fn a_document_is_displayed_as_its_text() {
        assert_eq!(format!("{} {:?}", Document::from(5), Document::from("M-5")), "5 \"M-5\"");
    }

    #[test]
    fn the_smallest_and_the_largest_number_are_written_in_full() {
        assert_eq!(Document::from(0).as_str(), "0");
        assert_eq!(Document::from(u32::MAX).as_str(), "4294967295");
    }

    proptest! {
        #[test]
        fn every_number_is_written_as_the_standard_library_writes_it(
            value: u32, zeros in 0_u32..32,
        ) {
            let value = value >> zeros;
            let document = Document::from(value);
            prop_assert_eq!(document.as_str(), value.to_string());
        }
    }
}
