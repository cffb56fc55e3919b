//! The first change of random files, against a plain comparison of their lines, and damaged files
//! of row hashes.

use std::fs::OpenOptions;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

const SESSION: [u8; 16] = *b"0123456789abcdef";

fn file(content: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(content).unwrap();
    file
}

/// Writes the row hashes of a file with this content.
fn written(content: &[u8]) -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("bets.csv.resume.rows");
    let bytes = RowHashes::write(&path, SESSION, 3, &file(content)).unwrap();
    assert_eq!(bytes, content.len() as u64);
    (directory, path)
}

fn first_change(old: &[u8], new: &[u8], sent: usize) -> Option<usize> {
    let (_directory, path) = written(old);
    let mut hashes = RowHashes::open(&path).unwrap();
    let change = hashes.first_change(&file(new), sent as u64).unwrap();
    change.map(|offset| offset as usize)
}

/// Splits a text into lines with their line breaks.
fn lines(mut text: &[u8]) -> Vec<&[u8]> {
    let mut lines = Vec::new();
    while !text.is_empty() {
        let end = (1..=text.len())
            .find(|end| {
                text[..*end].ends_with(b"\n") || {
                    text[..*end].ends_with(b"\r") && text.get(*end) != Some(&b'\n')
                }
            })
            .unwrap_or(text.len());
        lines.push(&text[..end]);
        text = &text[end..];
    }
    lines
}

/// Compares line by line, with both files in memory.
fn plainly(old: &[u8], new: &[u8], sent: usize) -> Option<usize> {
    let content = |line: &[u8]| {
        let end = line.iter().rposition(|byte| !b"\r\n".contains(byte));
        line[..end.map_or(0, |last| last + 1)].to_vec()
    };
    let (old, new_lines) = (lines(old), lines(new));
    let mut start = 0;
    for (index, line) in old.iter().enumerate() {
        if start >= sent {
            return None;
        }
        let Some(found) = new_lines.get(index) else { return Some(new.len()) };
        let has_same_text = content(line) == content(found);
        if line == found {
            start += line.len();
        } else if has_same_text && line.starts_with(found) && index + 1 == new_lines.len() {
            let is_all = start + line.len() >= sent;
            return (!is_all).then_some(new.len());
        } else if has_same_text && found.starts_with(line) && index + 1 == old.len() {
            return None;
        } else {
            return Some(start);
        }
    }
    None
}

/// An edit of a file.
#[derive(Clone, Debug)]
enum Edit {
    Byte(usize, u8),
    Insert(usize, Vec<u8>),
    Remove(usize, usize),
    Truncate(usize),
    Append(Vec<u8>),
    /// Every LF becomes CRLF, or the other way round.
    LineBreaks,
}

impl Edit {
    fn apply(&self, content: &mut Vec<u8>) {
        let length = content.len();
        match self {
            Self::Byte(at, byte) if *at < length => content[*at] = *byte,
            Self::Byte(..) => {}
            Self::Insert(at, bytes) => {
                let at = at % (length + 1);
                content.splice(at..at, bytes.iter().copied());
            }
            Self::Remove(at, count) => {
                let at = at % (length + 1);
                content.drain(at..(at + count).min(length));
            }
            Self::Truncate(count) => content.truncate(length.saturating_sub(*count)),
            Self::Append(bytes) => content.extend_from_slice(bytes),
            Self::LineBreaks => {
                let text = String::from_utf8_lossy(content).into_owned();
                let is_crlf = text.contains("\r\n");
                let (from, to) = if is_crlf { ("\r\n", "\n") } else { ("\n", "\r\n") };
                *content = text.replace(from, to).into_bytes();
            }
        }
    }
}

fn some_text() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![6 => "[ab,\"]{0,6}", 4 => "\n", 4 => "\r\n", 1 => "\r"];
    prop::collection::vec(part, 0..24).prop_map(|parts| parts.concat().into_bytes())
}

fn some_edit() -> impl Strategy<Value = Edit> {
    let place = 0..80_usize;
    prop_oneof![
        (place.clone(), prop::sample::select(b"ab\n\r".to_vec()))
            .prop_map(|(at, byte)| Edit::Byte(at, byte)),
        (place.clone(), some_text()).prop_map(|(at, text)| Edit::Insert(at, text)),
        (place, 0..20_usize).prop_map(|(at, count)| Edit::Remove(at, count)),
        (0..20_usize).prop_map(Edit::Truncate),
        some_text().prop_map(Edit::Append),
        Just(Edit::LineBreaks),
    ]
}

proptest! {
    #[test]
    fn the_first_change_is_that_of_a_plain_comparison(
        old in some_text(), edits in prop::collection::vec(some_edit(), 0..3), sent: prop::sample::Index,
    ) {
        let mut new = old.clone();
        edits.iter().for_each(|edit| edit.apply(&mut new));
        let (_directory, path) = written(&old);
        let mut hashes = RowHashes::open(&path).unwrap();
        for sent in [sent.index(old.len() + 1), old.len()] {
            let texts = [&old, &new].map(|text| String::from_utf8_lossy(text));
            let found = hashes.first_change(&file(&new), sent as u64).unwrap();
            let expected = plainly(&old, &new, sent).map(|offset| offset as u64);
            prop_assert_eq!(found, expected, "{:?}, {} bytes were sent", texts, sent);
        }
    }
}

#[test]
fn a_change_far_into_a_file_is_found_in_its_line() {
    let old: Vec<u8> = (0..100_000).flat_map(|row| format!("row {row}\r\n").into_bytes()).collect();
    for at in [0, 262_143, 262_144, 262_145, old.len() - 3] {
        let mut new = old.clone();
        new[at] ^= 1;
        let start = old[..at].iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        assert_eq!(first_change(&old, &new, old.len()), Some(start), "byte {at}");
        assert_eq!(first_change(&old, &new, start), None, "byte {at} was not sent");
    }
}

#[test]
fn appended_rows_are_no_change_but_an_extended_row_is() {
    for (old, more, change) in [
        ("a\nb\n", "c\n", None),
        ("a\nb", "\nc\n", None),
        ("a\nb", "\r\nc\r\n", None),
        ("a\nb\r", "\nc", None),
        ("a\nb", "c\n", Some(2)),
        ("", "a\n", None),
    ] {
        let new = format!("{old}{more}");
        assert_eq!(first_change(old.as_bytes(), new.as_bytes(), old.len()), change, "{new:?}");
    }
}

#[test]
fn a_file_with_any_changed_byte_or_any_other_length_is_refused() {
    let (_directory, path) = written(b"a\nb\nc\n");
    let content = fs::read(&path).unwrap();
    assert_eq!(content.len(), HEADER_BYTES + 3 * HASH_BYTES);
    for position in 0..content.len() {
        let mut damaged = content.clone();
        damaged[position] ^= 1;
        fs::write(&path, damaged).unwrap();
        let refused = RowHashes::open(&path).unwrap_err();
        let is_version = matches!(refused, UnusableHashes::Version(0));
        assert!(matches!(refused, UnusableHashes::Damaged) || is_version, "{refused:?}");
    }
    for length in (0..content.len()).chain([content.len() + 1]) {
        fs::write(&path, &content).unwrap();
        OpenOptions::new().write(true).open(&path).unwrap().set_len(length as u64).unwrap();
        assert!(matches!(RowHashes::open(&path), Err(UnusableHashes::Damaged)), "{length} bytes");
    }
    fs::remove_file(&path).unwrap();
    assert!(matches!(RowHashes::open(&path), Err(UnusableHashes::Missing)));
}

#[test]
fn a_file_belongs_to_the_state_after_it_and_to_the_one_before() {
    let (_directory, path) = written(b"a\n");
    let hashes = RowHashes::open(&path).unwrap();
    for edition in [2, 3] {
        hashes.check(SESSION, edition).unwrap();
    }
    for edition in [0, 1, 4, u64::MAX] {
        let refused = hashes.check(SESSION, edition);
        assert!(matches!(refused, Err(UnusableHashes::OtherEdition)), "{edition}: {refused:?}");
    }
    assert!(matches!(hashes.check([0; 16], 3), Err(UnusableHashes::OtherSession)));
}

#[test]
fn a_write_that_fails_leaves_the_earlier_file_and_nothing_else() {
    let (directory, path) = written(b"a\n");
    let before = fs::read(&path).unwrap();
    // A directory cannot be read as a file of bets.
    let failed = RowHashes::write(&path, SESSION, 4, &File::open(directory.path()).unwrap());
    assert!(matches!(failed, Err(FileError::Data(_))), "{failed:?}");
    assert_eq!(fs::read(&path).unwrap(), before);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
}
