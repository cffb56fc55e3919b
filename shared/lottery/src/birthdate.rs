//! The birthdate of a bet: parsed in the forms that dialects use, written as ISO 8601.

use std::fmt;

use jiff::civil::Date;

/// A calendar date in the years 1 to 9999, the range of Python's `datetime.date`, which the
/// course's `store_bets` and `load_bets` use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Birthdate(Date);

impl Birthdate {
    /// Returns the date of this year, month (1-12) and day (1-31), or `None` if it is not in the
    /// calendar.
    pub fn new(year: u16, month: u8, day: u8) -> Option<Self> {
        if year == 0 {
            return None;
        }
        let (year, month, day) =
            (i16::try_from(year).ok()?, i8::try_from(month).ok()?, i8::try_from(day).ok()?);
        Date::new(year, month, day).ok().map(Self)
    }

    /// Parses `YYYY-MM-DD` only, like `date.fromisoformat` of Python 3.9.
    pub fn from_iso(text: &str) -> Option<Self> {
        (text.len() == ISO_BYTES).then(|| Self::from_unpadded(text)).flatten()
    }

    /// Parses `YYYY-M-D` with or without zero padding of month and day, like Python's
    /// `strptime("%Y-%m-%d")`. The `typed` dialect accepts this form. Blanks, signs and non-ASCII
    /// digits are rejected.
    pub fn from_unpadded(text: &str) -> Option<Self> {
        let mut parts = text.as_bytes().split(|&byte| byte == b'-');
        let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
        let padded_year = year.len() == 4 && month.len() <= 2 && day.len() <= 2;
        if !padded_year || parts.next().is_some() {
            return None;
        }
        Self::new(digits(year)?, digits(month)?.try_into().ok()?, digits(day)?.try_into().ok()?)
    }

    /// Returns `YYYY-MM-DD` as bytes. Used for every row and hash, so it does not allocate.
    pub fn iso_bytes(self) -> [u8; ISO_BYTES] {
        let year = self.0.year().unsigned_abs();
        let [y1, y2] = two_digits((year / 100) as u8);
        let [y3, y4] = two_digits((year % 100) as u8);
        let [m1, m2] = two_digits(self.0.month().unsigned_abs());
        let [d1, d2] = two_digits(self.0.day().unsigned_abs());
        [y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2]
    }

    /// Returns year, month and day.
    pub fn parts(self) -> (u16, u8, u8) {
        (self.0.year().unsigned_abs(), self.0.month().unsigned_abs(), self.0.day().unsigned_abs())
    }
}

/// Length of `YYYY-MM-DD`.
const ISO_BYTES: usize = 10;

/// Parses one to four ASCII digits.
fn digits(text: &[u8]) -> Option<u16> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0_u16, |value, byte| {
        byte.is_ascii_digit().then(|| value * 10 + u16::from(byte - b'0'))
    })
}

fn two_digits(value: u8) -> [u8; 2] {
    [b'0' + value / 10 % 10, b'0' + value % 10]
}

impl fmt::Display for Birthdate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = self.parts();
        write!(f, "{year:04}-{month:02}-{day:02}")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn dates_outside_the_calendar_are_rejected() {
        for text in [
            "1999-13-17",
            "2001-02-29",
            "1900-02-29",
            "2000-04-31",
            "2000-00-01",
            "2000-01-00",
            "0000-01-01",
        ] {
            assert_eq!(Birthdate::from_unpadded(text), None, "{text}");
        }
    }

    #[test]
    fn leap_days_of_leap_years_are_accepted() {
        for text in ["2000-02-29", "1996-02-29"] {
            assert_eq!(Birthdate::from_iso(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn missing_zero_padding_is_accepted_by_from_unpadded_only() {
        assert_eq!(Birthdate::from_unpadded("1999-3-7").unwrap().to_string(), "1999-03-07");
        assert_eq!(Birthdate::from_iso("1999-3-7"), None);
    }

    #[test]
    fn blanks_signs_and_other_forms_are_rejected() {
        for text in [
            " 1999-03-17",
            "1999-03-17 ",
            "1999-03- 7",
            "99-03-17",
            "1999/03/17",
            "1999-03",
            "1999-03-17-1",
            "+999-03-17",
            "",
            "--",
            "1999-003-17",
            "19990-3-17",
            "١٩٩٩-03-17",
        ] {
            assert_eq!(Birthdate::from_unpadded(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_date_is_parsed_from_its_iso_form(
            year in 1_u16..=9999, month in 1_u8..=12, day in 1_u8..=28,
        ) {
            let date = Birthdate::new(year, month, day).unwrap();
            prop_assert_eq!(Birthdate::from_iso(&date.to_string()), Some(date));
            let bytes = date.iso_bytes();
            prop_assert_eq!(std::str::from_utf8(&bytes).unwrap(), date.to_string());
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in ".{0,16}") {
            let _ = Birthdate::from_unpadded(&text);
        }
    }
}
