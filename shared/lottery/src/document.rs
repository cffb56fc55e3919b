//! The identity document of a bet: text in most dialects, a number in those that carry it as one.

use std::fmt;

use crate::decimal::Decimal;

/// An identity document. What counts is its text, however it came: the number 5 equals the text "5".
#[derive(Clone, Copy)]
pub struct Document<'a>(Source<'a>);

#[derive(Clone, Copy)]
enum Source<'a> {
    Text(&'a str),
    /// The bytes on the wire are no digits, so there is nothing to borrow them from.
    Number(Decimal),
}

impl Document<'_> {
    /// Its text.
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
    /// The document that is this number without leading zeros.
    fn from(number: u32) -> Self {
        Self(Source::Number(number.into()))
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
    use super::*;

    #[test]
    fn a_number_and_a_text_are_the_same_document_when_they_read_the_same() {
        assert_eq!(Document::from(30_904_465), Document::from("30904465"));
        assert_ne!(Document::from(5), Document::from("05"));
    }

    #[test]
    fn it_shows_as_its_text() {
        assert_eq!(format!("{} {:?}", Document::from(5), Document::from("M-5")), "5 \"M-5\"");
    }
}
