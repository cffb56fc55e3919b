//! Plain decimals: numbers from 0 to 4294967295 as text without sign, blanks or leading zeros, so that the text reads back as it
//! was written.

/// Digits of `u32::MAX`.
const MAX_DIGITS: usize = 10;

/// The digits of a number, kept in place: they are written for every bet, and nothing is allocated for them.
#[derive(Clone, Copy)]
pub(crate) struct Decimal {
    digits: [u8; MAX_DIGITS],
    /// Where the first digit stands; they end with the array.
    start: u8,
}

impl From<u32> for Decimal {
    fn from(value: u32) -> Self {
        let mut digits = [b'0'; MAX_DIGITS];
        let mut start = MAX_DIGITS;
        let mut rest = value;
        for digit in digits.iter_mut().rev() {
            start -= 1;
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        Self { digits, start: start as u8 }
    }
}

impl Decimal {
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.digits[self.start.into()..]
    }

    pub(crate) fn as_str(&self) -> &str {
        // ASCII digits are UTF-8.
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }
}

/// The number of a plain decimal.
pub(crate) fn parse(text: &str) -> Option<u32> {
    let canonical = text == "0" || !text.starts_with('0');
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    (canonical && digits).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn other_texts_than_plain_decimals_are_refused() {
        for text in ["", "-1", "+1", " 1", "1 ", "1_000", "007", "00", "4294967296", "1x", "١"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn the_smallest_and_the_largest_are_written_in_full() {
        assert_eq!(Decimal::from(0).as_str(), "0");
        assert_eq!(Decimal::from(u32::MAX).as_str(), "4294967295");
    }

    proptest! {
        #[test]
        fn every_number_is_written_as_the_standard_library_does_and_reads_back(value: u32, zeros in 0_u32..32) {
            let value = value >> zeros;
            let decimal = Decimal::from(value);
            prop_assert_eq!(decimal.as_str(), value.to_string());
            prop_assert_eq!(parse(decimal.as_str()), Some(value));
        }
    }
}
