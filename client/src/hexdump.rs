//! Bytes as lines of offset, hexadecimal and text, around one byte or from the first one on.

/// Number of bytes per line.
const LINE: usize = 16;

/// Returns lines of `bytes`: at most `lines` of them, around the byte at `marked`, which is in
/// brackets. If a byte is missing there, empty brackets follow the last byte.
pub(crate) fn around(bytes: &[u8], marked: usize, lines: usize) -> Vec<String> {
    let line = marked.min(bytes.len()) / LINE;
    let first = line.saturating_sub(lines / 2);
    dump(bytes, Some(marked), first, lines)
}

/// Returns the first lines of `bytes`, at most `lines` of them.
pub(crate) fn start(bytes: &[u8], lines: usize) -> Vec<String> {
    dump(bytes, None, 0, lines)
}

fn dump(bytes: &[u8], marked: Option<usize>, first: usize, lines: usize) -> Vec<String> {
    // A missing byte after a full line has a line of its own.
    let all = bytes.len().max(marked.map_or(0, |marked| marked + 1)).div_ceil(LINE);
    let last = all.min(first + lines);
    let mut dump = Vec::new();
    if first > 0 {
        dump.push(format!("… {} bytes before", first * LINE));
    }
    dump.extend((first..last).map(|number| line(bytes, number * LINE, marked)));
    if last < all {
        dump.push(format!("… {} more bytes", bytes.len() - last * LINE));
    }
    dump
}

/// Returns the line that starts at `offset`.
fn line(bytes: &[u8], offset: usize, marked: Option<usize>) -> String {
    let (mut hexadecimal, mut text) = (String::new(), String::new());
    for at in offset..offset + LINE {
        let before = if marked == Some(at) {
            '['
        } else if at > offset && marked == Some(at - 1) {
            ']'
        } else {
            ' '
        };
        hexadecimal.push(before);
        match bytes.get(at) {
            Some(byte) => {
                hexadecimal += &format!("{byte:02x}");
                let is_plain = byte.is_ascii_graphic() || *byte == b' ';
                text.push(if is_plain { char::from(*byte) } else { '.' });
            }
            None => hexadecimal += "  ",
        }
    }
    hexadecimal.push(if marked == Some(offset + LINE - 1) { ']' } else { ' ' });
    format!("{offset:08x} {hexadecimal} |{text}|")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_marked_byte_is_in_brackets_and_other_lines_are_counted() {
        let bytes: Vec<u8> = (0..100).collect();
        assert_eq!(
            around(&bytes, 0x41, 2),
            [
                "… 48 bytes before",
                "00000030  30 31 32 33 34 35 36 37 38 39 3a 3b 3c 3d 3e 3f  |0123456789:;<=>?|",
                "00000040  40[41]42 43 44 45 46 47 48 49 4a 4b 4c 4d 4e 4f  |@ABCDEFGHIJKLMNO|",
                "… 20 more bytes",
            ]
        );
    }

    #[test]
    fn a_missing_byte_has_empty_brackets() {
        assert_eq!(around(b"", 0, 3), [format!("00000000 [  ]{:46}||", "")]);
        assert_eq!(around(b"OK", 2, 3), [format!("00000000  4f 4b[  ]{:40}|OK|", "")]);
        let full = around(&[b'a'; 16], 16, 3);
        assert_eq!(full[1], format!("00000010 [  ]{:46}||", ""));
    }

    #[test]
    fn the_start_has_no_brackets() {
        assert_eq!(start(b"A\n", 4), [format!("00000000  41 0a{:44}|A.|", "")]);
        assert_eq!(start(&[0; 33], 1).last().map(String::as_str), Some("… 17 more bytes"));
    }
}
