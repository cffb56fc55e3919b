//! A check of dates in the form `YYYY-MM-DD`, all digits at once.

/// Days of each month, by any number of two digits. February 29 is checked separately.
const DAYS: [u8; 128] = {
    let mut days = [0; 128];
    let year = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 1;
    while month <= 12 {
        days[month] = year[month - 1];
        month += 1;
    }
    days
};

/// The first eight bytes of a date whose digits are all zero. XOR with it turns each digit into its
/// value and each dash into zero.
const ZERO_DATE: u64 = u64::from_le_bytes(*b"0000-00-");
const DASHES: u64 = u64::from_le_bytes([0, 0, 0, 0, 0xFF, 0, 0, 0xFF]);

/// Returns true if the bytes are a calendar date that
/// [`Birthdate::from_iso`](crate::Birthdate::from_iso) accepts.
#[inline(always)]
pub(super) fn is_iso_date(date: &[u8; 10]) -> bool {
    let Some((head, [d1, d2])) = date.split_first_chunk() else { return false };
    let head = u64::from_le_bytes(*head) ^ ZERO_DATE;
    let (d1, d2) = (d1 ^ b'0', d2 ^ b'0');
    // The low half is the year: year 0 is not a date.
    if above_nine(head) || head & DASHES != 0 || head as u32 == 0 || d1 > 9 || d2 > 9 {
        return false;
    }
    let [y1, y2, y3, y4, _, m1, m2, _] = head.to_le_bytes();
    let (month, day) = (m1 * 10 + m2, d1 * 10 + d2);
    if (month, day) == (2, 29) {
        let year = u16::from(y1 * 10 + y2) * 100 + u16::from(y3 * 10 + y4);
        return year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    }
    day != 0 && day <= DAYS[usize::from(month & 127)]
}

/// Returns true if one of the eight bytes is larger than 9.
#[inline(always)]
pub(super) fn above_nine(bytes: u64) -> bool {
    const HIGH_BITS: u64 = 0x8080_8080_8080_8080;
    const TO_HIGH_BIT: u64 = 0x7676_7676_7676_7676;
    // 10 + 0x76 is 0x80. The high bit of each byte is left out of the sum, so nothing carries over.
    (((bytes & !HIGH_BITS) + TO_HIGH_BIT) | bytes) & HIGH_BITS != 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Birthdate;

    fn is_birthdate(bytes: &[u8]) -> bool {
        std::str::from_utf8(bytes).ok().and_then(Birthdate::from_iso).is_some()
    }

    #[test]
    fn every_month_and_day_is_accepted_as_the_calendar_says() {
        for year in [0, 1, 4, 1900, 1996, 1999, 2000, 2001, 2100, 9999] {
            for month in 0..=19 {
                for day in 0..=39 {
                    let text = format!("{year:04}-{month:02}-{day:02}");
                    let date = text.as_bytes().try_into().unwrap();
                    assert_eq!(is_iso_date(date), is_birthdate(date), "{text}");
                }
            }
        }
    }

    #[test]
    fn every_byte_at_every_place_is_accepted_as_the_parser_says() {
        for place in 0..10 {
            for byte in 0..=255 {
                let mut date = *b"2001-12-11";
                date[place] = byte;
                assert_eq!(is_iso_date(&date), is_birthdate(&date), "{date:?}");
            }
        }
    }
}
