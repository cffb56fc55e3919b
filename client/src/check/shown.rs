//! Bytes as a person reads them: text where they are text, else hexadecimal, never more than a line.

/// Most characters that are shown of a text.
const TEXT: usize = 100;
/// Most bytes that are shown in hexadecimal.
const BYTES: usize = 32;

/// The bytes as one short line.
pub(super) fn shown(bytes: &[u8]) -> String {
    let text = std::str::from_utf8(bytes).ok().filter(|text| text.chars().all(is_readable));
    let (mut line, whole) = match text {
        Some(text) => {
            let begin: String = text.chars().take(TEXT).collect();
            (format!("{begin:?}"), begin.len() == text.len())
        }
        None => {
            let begin: Vec<_> =
                bytes.iter().take(BYTES).map(|byte| format!("{byte:02x}")).collect();
            (begin.join(" "), bytes.len() <= BYTES)
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
    fn text_is_shown_as_text_in_one_line() {
        assert_eq!(shown("FAIL|ñ\n".as_bytes()), "\"FAIL|ñ\\n\"");
    }

    #[test]
    fn everything_else_is_shown_in_hexadecimal() {
        for (bytes, expected) in
            [(&[1][..], "01"), (b"A\0", "41 00"), (b"\xffA", "ff 41"), (&[0xC2, 0x80], "c2 80")]
        {
            assert_eq!(shown(bytes), expected);
        }
    }

    #[test]
    fn what_is_long_is_cut_and_its_length_told() {
        assert_eq!(
            shown("é".repeat(101).as_bytes()),
            format!("\"{}\"… (202 bytes)", "é".repeat(100))
        );
        assert_eq!(shown("é".repeat(100).as_bytes()), format!("\"{}\"", "é".repeat(100)));
        assert_eq!(shown(&[0; 33]), format!("{}00… (33 bytes)", "00 ".repeat(31)));
    }
}
