//! The one-line form of any text, which is safe to print as a value of a log line.

use std::fmt::{self, Write};

/// Mark at the end of a text that was cut.
pub(crate) const CUT: char = '…';

/// What a text becomes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// A whole message: `|` separates its parts, and stays.
    Message,
    /// One value of a message: a `|` would start another part, and becomes `¦`.
    Value,
    /// The inside of a JSON string, which keeps every character.
    Json,
}

/// A writer that appends text to `out`, on one line and within a limit.
///
/// It writes control characters and the Unicode line and paragraph separators as escapes (`\n`,
/// `\u{1b}`, in JSON `\u001b`). It cuts text that would make `out` longer than `limit` bytes
/// between two characters, and adds [`CUT`]. The write then fails, so that the caller does not
/// format the rest.
pub(crate) struct Clean<'a> {
    out: &'a mut String,
    limit: usize,
    form: Form,
}

impl<'a> Clean<'a> {
    /// Returns a writer that lets `out` grow to `limit` bytes.
    pub(crate) fn new(out: &'a mut String, limit: usize, form: Form) -> Self {
        Self { out, limit, form }
    }

    /// Returns true if the byte is a character that passes unchanged.
    fn is_plain(&self, byte: u8) -> bool {
        matches!(byte, b' '..=b'~')
            && match self.form {
                Form::Message => true,
                Form::Value => byte != b'|',
                Form::Json => byte != b'"' && byte != b'\\',
            }
    }

    /// Appends all `symbols` if the mark of a cut still fits after them, or only the mark.
    fn append(&mut self, symbols: impl Iterator<Item = char> + Clone) -> fmt::Result {
        let bytes: usize = symbols.clone().map(char::len_utf8).sum();
        if self.out.len() + bytes + CUT.len_utf8() > self.limit {
            self.out.push(CUT);
            return Err(fmt::Error);
        }
        self.out.extend(symbols);
        Ok(())
    }
}

impl Write for Clean<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // Almost every text passes unchanged, and a copy takes a fraction of the time of the loop.
        let fits = self.out.len() + text.len() + CUT.len_utf8() <= self.limit;
        if fits && text.bytes().all(|byte| self.is_plain(byte)) {
            self.out.push_str(text);
            return Ok(());
        }
        for symbol in text.chars() {
            match symbol {
                '|' if self.form == Form::Value => self.append(std::iter::once('¦'))?,
                '"' | '\\' if self.form == Form::Json => self.append(['\\', symbol].into_iter())?,
                _ if !symbol.is_control() && !matches!(symbol, '\u{2028}' | '\u{2029}') => {
                    self.append(std::iter::once(symbol))?;
                }
                '\n' | '\r' | '\t' => self.append(symbol.escape_default())?,
                // Every control character and both separators have at most four digits.
                _ if self.form == Form::Json => {
                    self.append(format!("\\u{:04x}", u32::from(symbol)).chars())?;
                }
                _ => self.append(symbol.escape_unicode())?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cleaned(text: &str, limit: usize) -> (String, fmt::Result) {
        let mut out = String::new();
        let written = Clean::new(&mut out, limit, Form::Value).write_str(text);
        (out, written)
    }

    #[test]
    fn ordinary_text_passes_unchanged() {
        assert_eq!(
            cleaned("Álvarez, \"Ñandú\" 10:20", 100),
            ("Álvarez, \"Ñandú\" 10:20".to_owned(), Ok(()))
        );
    }

    #[test]
    fn what_would_end_a_line_or_a_value_is_escaped() {
        let (text, _) = cleaned("a|b\nc\r\td\u{1b}[31m\u{85}\u{2028}e\0", 100);
        assert_eq!(text, "a¦b\\nc\\r\\td\\u{1b}[31m\\u{85}\\u{2028}e\\u{0}");
    }

    #[test]
    fn json_keeps_every_character_and_escapes_what_would_end_a_string_or_a_line() {
        let mut out = String::new();
        Clean::new(&mut out, 100, Form::Json).write_str("a|\"b\\\n\u{1b}\u{85}\u{2028}ñ").unwrap();
        assert_eq!(out, r#"a|\"b\\\n\u001b\u0085\u2028ñ"#);
    }

    #[test]
    fn a_long_text_is_cut_between_characters_and_marked() {
        // Room for two of the two-byte letters beside the three bytes of the mark; the sixth byte
        // stays free.
        assert_eq!(cleaned("ñññññ", 8), ("ññ…".to_owned(), Err(fmt::Error)));
    }

    #[test]
    fn an_escape_is_never_cut_in_the_middle() {
        assert_eq!(cleaned("abc\nd", 7).0, "abc…");
    }
}
