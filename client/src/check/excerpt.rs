//! One-line excerpts of bytes for the report: text where possible, otherwise hexadecimal.

/// Most characters of a text that are shown.
const MAX_CHARS: usize = 100;
/// Most bytes that are shown in hexadecimal.
const MAX_BYTES: usize = 32;

/// Returns the bytes as one short line.
pub(super) fn excerpt(bytes: &[u8]) -> String {
    let text = std::str::from_utf8(bytes).ok().filter(|text| text.chars().all(is_readable));
    let (mut line, whole) = match text {
        Some(text) => {
            let start: String = text.chars().take(MAX_CHARS).collect();
            (format!("{start:?}"), start.len() == text.len())
        }
        None => {
            let start: Vec<_> =
                bytes.iter().take(MAX_BYTES).map(|byte| format!("{byte:02x}")).collect();
            (start.join(" "), bytes.len() <= MAX_BYTES)
        }
    };
    if !whole {
        line += &format!("… ({} bytes)", bytes.len());
    }
    line
}

fn is_readable(c: char) -> bool {
    !c.is_control() || matches!(c, '\n' | '\r' | '\t')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_shown_as_text_on_one_line() {
        assert_eq!(excerpt("FAIL|ñ\n".as_bytes()), "\"FAIL|ñ\\n\"");
    }

    #[test]
    fn other_bytes_are_shown_in_hexadecimal() {
        for (bytes, expected) in
            [(&[1][..], "01"), (b"A\0", "41 00"), (b"\xffA", "ff 41"), (&[0xC2, 0x80], "c2 80")]
        {
            assert_eq!(excerpt(bytes), expected);
        }
    }

    #[test]
    fn long_content_is_cut_and_followed_by_its_length() {
        assert_eq!(
            excerpt("é".repeat(101).as_bytes()),
            format!("\"{}\"… (202 bytes)", "é".repeat(100))
        );
        assert_eq!(excerpt("é".repeat(100).as_bytes()), format!("\"{}\"", "é".repeat(100)));
        assert_eq!(excerpt(&[0; 33]), format!("{}00… (33 bytes)", "00 ".repeat(31)));
    }
}
