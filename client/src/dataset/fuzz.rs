//! Fuzz target: a file of bets with any content is read or refused, row by row as the csv crate
//! reads it, and each of its bets arrives at the central as it is in the file, in every dialect
//! that can encode it.

use std::io::Write;

use lottery::protocol::{AgencyOptions, DIALECTS, Decoded, Push};
use lottery::{Bet, Request};

use super::{Dataset, ROW_LIMIT};

/// Reads a file with this content to its end or its first fault.
pub(crate) fn check(content: &[u8]) {
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    file.write_all(content).expect("a written file");
    check_rows(content, Dataset::open(file.path(), 1).expect("an open file"));
    let mut dataset = Dataset::open(file.path(), 1).expect("an open file");
    let mut position = 0;
    while dataset.advance().is_ok_and(|more| more) {
        assert!(dataset.position() > position, "every row has at least a byte");
        position = dataset.position();
        if let Ok(bet) = dataset.bet(true) {
            check_bet(&bet);
        }
    }
    assert!(dataset.position() <= dataset.size());
}

/// Compares the rows of a file with those that the csv crate reads.
fn check_rows(content: &[u8], mut dataset: Dataset) {
    let mut reader =
        csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(content);
    let mut expected = csv::ByteRecord::new();
    let mut end = 0;
    while reader.read_byte_record(&mut expected).expect("bytes in memory") {
        let read = dataset.advance();
        assert!(!matches!(read, Ok(false)), "row {} is missing", dataset.row() + 1);
        if expected.as_slice().len() > ROW_LIMIT / 2 {
            return;
        }
        let fields = (0..dataset.record.len()).map(|index| dataset.record.field(index));
        assert!(fields.eq(expected.iter().map(Some)), "row {}", dataset.row());
        assert_eq!(dataset.position(), reader.position().byte(), "row {}", dataset.row());
        let blank = content[end..].iter().take_while(|byte| b"\r\n".contains(byte)).count();
        let before = &content[..end + blank];
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        assert_eq!(dataset.line(), line as u64, "row {}", dataset.row());
        end = dataset.position() as usize;
    }
    assert!(matches!(dataset.advance(), Ok(false)));
}

/// Sends a bet through the two codecs of every dialect.
fn check_bet(bet: &Bet<'_>) {
    let options = AgencyOptions::new(bet.agency, 1);
    for dialect in DIALECTS {
        let Some(agency) = dialect.agency else { continue };
        let mut agency = agency(&options);
        match agency.push(bet) {
            Ok(Push::Added) => {}
            Ok(Push::Full) => panic!("{}: an empty batch has room", dialect.name),
            Err(_) => continue,
        }
        let mut central = (dialect.central)();
        let greeting = agency.greeting();
        if !greeting.is_empty() {
            let skipped = Decoded::Skip { consumed: greeting.len() };
            assert_eq!(central.decode(&greeting), Ok(skipped), "{}", dialect.name);
        }
        let packet = agency.packet().to_vec();
        let decoded = central.decode(&packet);
        let Ok(Decoded::Complete {
            request: Request::Store(bets) | Request::StoreOnce { bets, .. },
            consumed,
        }) = &decoded
        else {
            panic!("{}: {decoded:?}", dialect.name);
        };
        assert_eq!(*consumed, packet.len(), "{}", dialect.name);
        // `typed` has no agencies.
        let expected = Bet { agency: bets[0].agency, ..*bet };
        assert_eq!(bets, &[expected], "{}", dialect.name);
    }
}

#[cfg(test)]
mod tests {
    use crate::fuzz_corpus::check_corpus;

    #[test]
    fn the_corpus_and_changes_of_it_are_read_or_refused() {
        check_corpus("dataset", 3_000, super::check);
    }
}
