//! The bytes that follow the start of a record, searched all at once.

use wide::u8x16;

/// Bytes of a record that are searched at once. In the course's data 1 record in 2,500 is longer.
pub(super) const SEARCHED: usize = 64;

/// Bytes of a window. A field that starts among the searched bytes can be read as an array of up to
/// 16 bytes without a check of its length.
pub(crate) const WINDOW: usize = SEARCHED + LANES;

/// Bytes of a short window, which is all searched.
pub(super) const SHORT: usize = 32;

/// Room before a copied record, for the agency and a comma.
pub(super) const PREFIX: usize = 8;
/// Room after a copied record, for what follows it in its row.
pub(super) const SUFFIX: usize = 4;
/// Length of the longest row that is copied, of agency 65535.
pub(super) const LONGEST_ROW: usize = 6 + SEARCHED + SUFFIX;
/// Room for a row, wherever in [`PREFIX`] it starts.
pub(super) const ROW: usize = PREFIX + LONGEST_ROW;

const LANES: usize = 16;
const CHUNKS: usize = SEARCHED / LANES;

/// The bytes from the start of a record, and whatever follows it.
pub(crate) type Window = [u8; WINDOW];

/// Returns the window that starts at `at`. Near the end of `bytes` it is copied to `spare`, with
/// zeros after the end.
#[inline(always)]
pub(crate) fn window<'a, const N: usize>(
    bytes: &'a [u8],
    at: usize,
    spare: &'a mut [u8; N],
) -> &'a [u8; N] {
    let rest = bytes.get(at..).unwrap_or_default();
    match rest.first_chunk() {
        Some(window) => window,
        None => {
            spare[..rest.len()].copy_from_slice(rest);
            spare[rest.len()..].fill(0);
            spare
        }
    }
}

/// A copy of the first [`SEARCHED`] bytes of a window, and the places of the bytes that matter, one
/// bit per byte.
#[derive(Debug)]
pub(crate) struct Scanned {
    /// The searched bytes from [`PREFIX`] on, with the other separator in place of each one. There
    /// is room before and after them for the rest of a row or record.
    pub(super) row: [u8; ROW],
    /// Separators.
    pub(super) separators: u64,
    /// Bytes that need care in a text, see [`needs_care`].
    pub(super) special: u64,
}

impl Scanned {
    /// Searches the first `length` bytes of a window, or more, whose fields are separated with
    /// `FROM`. The copy has `TO` instead, which needs care where it is in a text.
    #[inline(always)]
    pub(crate) fn of<const FROM: u8, const TO: u8>(window: &Window, length: usize) -> Self {
        let (chunks, _) = window.as_chunks::<LANES>();
        let mut scanned = Self { row: [0; ROW], separators: 0, special: 0 };
        for (index, chunk) in chunks.iter().take(CHUNKS - 1).enumerate() {
            scanned.add::<FROM, TO>(index, chunk);
        }
        // Most records end before the last chunk.
        if length > LANES * (CHUNKS - 1) {
            scanned.add::<FROM, TO>(CHUNKS - 1, &chunks[CHUNKS - 1]);
        }
        scanned
    }

    #[inline(always)]
    fn add<const FROM: u8, const TO: u8>(&mut self, index: usize, chunk: &[u8; LANES]) {
        let bytes = u8x16::new(*chunk);
        let separators = bytes.simd_eq(u8x16::splat(FROM));
        let mut special = needs_care(bytes);
        if FROM != TO {
            special |= bytes.simd_eq(u8x16::splat(TO));
        }
        let copy = bytes ^ (separators & u8x16::splat(FROM ^ TO));
        let place = PREFIX + LANES * index;
        self.row[place..place + LANES].copy_from_slice(&copy.to_array());
        self.separators |= u64::from(separators.to_bitmask()) << (LANES * index);
        self.special |= u64::from(special.to_bitmask()) << (LANES * index);
    }
}

/// Returns the places of the bytes that need care in a short window.
#[inline(always)]
pub(super) fn special_of_short(window: &[u8; SHORT]) -> u32 {
    let mut found = 0;
    for (index, from) in window.as_chunks::<LANES>().0.iter().enumerate() {
        let bytes = u8x16::new(*from);
        let special = needs_care(bytes) | bytes.simd_eq(u8x16::splat(b','));
        found |= special.to_bitmask() << (LANES * index);
    }
    found
}

/// Marks control characters, `"`, and the first byte of the characters U+0080 to U+00BF, which
/// include the control characters C1. A row quotes a text with `"`, and a bet with a control
/// character is invalid. Commas need the same care where they do not separate fields.
#[inline(always)]
fn needs_care(bytes: u8x16) -> u8x16 {
    let is = |byte| bytes.simd_eq(u8x16::splat(byte));
    let low = bytes.min(u8x16::splat(0x1F)).simd_eq(bytes);
    low | is(0x7F) | is(0xC2) | is(b'"')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a window of blanks with this byte at this place.
    fn with(place: usize, byte: u8) -> Window {
        let mut window = [b' '; WINDOW];
        window[place] = byte;
        window
    }

    #[test]
    fn every_byte_is_marked_at_its_place_as_what_it_is() {
        for byte in 0..=255 {
            let careful = byte < 0x20 || [0x7F, 0xC2, b'"', b','].contains(&byte);
            for place in [0, 1, 15, 16, 31, 47, 63] {
                let scanned = Scanned::of::<b';', b','>(&with(place, byte), SEARCHED);
                let bit = |marked| u64::from(marked) << place;
                assert_eq!(scanned.special, bit(careful), "{byte:#x} at {place}");
                assert_eq!(scanned.separators, bit(byte == b';'), "{byte:#x} at {place}");
                let copied = if byte == b';' { b',' } else { byte };
                let row = &scanned.row[PREFIX..PREFIX + SEARCHED];
                assert_eq!(row, &with(place, copied)[..SEARCHED]);
                if place < SHORT {
                    let special = special_of_short(with(place, byte).first_chunk().unwrap());
                    assert_eq!(u64::from(special), bit(careful), "{byte:#x} at {place}");
                }
            }
        }
    }

    #[test]
    fn a_comma_that_separates_fields_needs_no_care() {
        let scanned = Scanned::of::<b',', b','>(&with(5, b','), SEARCHED);
        assert_eq!((scanned.separators, scanned.special), (1 << 5, 0));
    }

    #[test]
    fn a_window_beyond_the_end_is_filled_with_zeros() {
        let mut spare = [b'x'; WINDOW];
        let bytes: Vec<u8> = (1..=200).collect();
        assert_eq!(window(&bytes, 120, &mut spare)[..], bytes[120..200]);
        let short = window(&bytes, 190, &mut spare);
        assert_eq!(short[..10], bytes[190..]);
        assert_eq!(short[10..], [0; WINDOW - 10]);
        assert_eq!(window(&bytes, 300, &mut spare), &[0; WINDOW]);
    }
}
