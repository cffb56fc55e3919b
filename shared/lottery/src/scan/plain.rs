//! A check of short plain decimals: up to eight digits without leading zeros, all at once.

use super::date::above_nine;

/// The digits that are checked at once. A longer number takes the general path.
const DIGITS: usize = 8;

/// A number in a text, as its bytes: equal numbers have equal bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Plain(u64);

impl Plain {
    /// Returns the number in the first `digits` bytes, or `None` if these are not a plain decimal
    /// of at most eight digits.
    #[inline(always)]
    pub(super) fn read(bytes: &[u8; DIGITS], digits: usize) -> Option<Self> {
        if !(1..=DIGITS).contains(&digits) {
            return None;
        }
        let number = u64::from_le_bytes(*bytes) & (u64::MAX >> (8 * (DIGITS - digits)));
        let zeros = ZEROS >> (8 * (DIGITS - digits));
        let leads_with_zero = digits > 1 && number as u8 == b'0';
        (!leads_with_zero && !above_nine(number ^ zeros)).then_some(Self(number))
    }

    /// Returns the value.
    #[inline(always)]
    pub(super) fn value(self) -> u32 {
        // The bytes after the digits are zero. The digits move behind zeros, then pairs of digits,
        // of pairs and of fours are added up.
        let digits = (self.0 & 0x0F0F_0F0F_0F0F_0F0F) << (self.0.leading_zeros() & !7);
        let pairs = digits.wrapping_mul(10).wrapping_add(digits >> 8);
        let pair = |at: u32| (pairs >> at & 0xFF) as u32;
        (pair(0) * 100 + pair(16)) * 10_000 + pair(32) * 100 + pair(48)
    }

    /// Returns the number with these digits.
    pub(super) const fn of(digits: &[u8]) -> Self {
        let (mut number, mut index) = (0, 0);
        while index < digits.len() {
            number |= (digits[index] as u64) << (8 * index);
            index += 1;
        }
        Self(number)
    }
}

const ZEROS: u64 = u64::from_le_bytes([b'0'; DIGITS]);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::decimal;

    proptest! {
        #[test]
        fn texts_are_accepted_as_the_general_parser_does(
            text in prop_oneof!["[0-9]{1,8}", "[0-9/:,;+ ]{1,8}"], after: [u8; 8],
        ) {
            let mut bytes = after;
            bytes[..text.len()].copy_from_slice(text.as_bytes());
            let expected = decimal::parse(&text).map(|_| Plain::of(text.as_bytes()));
            let found = Plain::read(&bytes, text.len());
            prop_assert_eq!(found, expected);
            prop_assert_eq!(found.map(Plain::value), decimal::parse(&text));
        }

        #[test]
        fn any_bytes_are_accepted_as_the_general_parser_does(bytes: [u8; 8], digits in 0_usize..10) {
            let text = bytes.get(..digits).and_then(|text| std::str::from_utf8(text).ok());
            let expected = text.and_then(decimal::parse).is_some();
            prop_assert_eq!(Plain::read(&bytes, digits).is_some(), expected);
        }
    }
}
