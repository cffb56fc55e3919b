//! Fuzz target: a file of bets with any content is read or refused, and each of its bets arrives at
//! the central as it is in the file, in every dialect that can encode it.

use std::io::Write;

use lottery::protocol::{AgencyOptions, DIALECTS, Decoded, Push};
use lottery::{Bet, Request};

use super::Dataset;

/// Reads a file with this content to its end or its first fault.
pub(crate) fn check(content: &[u8]) {
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    file.write_all(content).expect("a written file");
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
