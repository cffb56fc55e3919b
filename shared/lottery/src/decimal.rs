//! Parses plain decimals: 0 to 4294967295 without sign, blanks or leading zeros.
//!
//! `str::parse` also accepts `+7` and `007`. Dialects that carry the value as an integer, or write
//! it again from the integer, would change such a text.

/// Returns the value of a plain decimal, or `None` for any other text.
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
    fn texts_that_are_not_plain_decimals_are_rejected() {
        for text in ["", "-1", "+1", " 1", "1 ", "1_000", "007", "00", "4294967296", "1x", "١"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_number_is_parsed_from_its_decimal_text(value: u32, zeros in 0_u32..32) {
            let value = value >> zeros;
            prop_assert_eq!(parse(itoa::Buffer::new().format(value)), Some(value));
        }
    }
}
