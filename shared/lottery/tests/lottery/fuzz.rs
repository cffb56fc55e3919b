//! Fuzz targets: the codecs of every dialect get any bytes. A new dialect is covered by its row in
//! the table.

use lottery::protocol::{AgencyOptions, Answer, DIALECTS, Decoded};
use lottery::{Bet, Birthdate, Request};

use crate::common::conversation::conversation_in_pieces;
use crate::common::prepared::check_connection;

/// Serves a connection that carries any bytes. The first byte of the input chooses the dialect, the
/// second the size of the pieces in which the network delivers the rest.
///
/// The central must answer the same whatever the pieces are, and every bet that it accepts must be
/// a row of `bets.csv` that reads back as the same bet.
pub(crate) fn check_central(input: &[u8]) {
    let [choice, piece, wire @ ..] = input else { return };
    let dialect = &DIALECTS[usize::from(*choice) % DIALECTS.len()];
    let whole = conversation_in_pieces(dialect.name, wire, wire.len().max(1));
    let pieces = conversation_in_pieces(dialect.name, wire, usize::from(*piece).max(1));
    assert_eq!(whole, pieces, "{}", dialect.name);

    let (mut codec, mut rest) = ((dialect.central)(), wire);
    loop {
        match codec.decode(rest) {
            Ok(Decoded::Skip { consumed }) => rest = &rest[consumed..],
            Ok(Decoded::Complete {
                request: Request::Store(bets) | Request::StoreOnce { bets, .. },
                ..
            }) => return check_rows(&bets),
            _ => return,
        }
    }
}

/// Checks that the rows of these bets read back as the same bets.
fn check_rows(bets: &[Bet<'_>]) {
    let mut rows = Vec::new();
    lottery::write_rows(bets, &mut rows).unwrap();
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(&*rows);
    let read: Vec<_> = reader.records().map(Result::unwrap).collect();
    assert_eq!(read.len(), bets.len());
    for (row, bet) in read.iter().zip(bets) {
        let [agency, number] = [bet.agency.into(), bet.number.unwrap_or(0)].map(|n| n.to_string());
        let date = bet.birthdate.to_string();
        let texts = [bet.first_name, bet.last_name, bet.document.as_str()];
        assert_eq!(row, vec![&*agency, texts[0], texts[1], texts[2], &*date, &*number]);
    }
}

/// Prepares the first batch of a connection that carries any bytes. The first byte of the input
/// chooses the dialect, the second the size of the pieces in which the network delivers the rest.
///
/// The fast path must append the same rows and find the same winners as the general path, or leave
/// the message to it.
pub(crate) fn check_prepared(input: &[u8]) {
    let [choice, piece, wire @ ..] = input else { return };
    let dialect = &DIALECTS[usize::from(*choice) % DIALECTS.len()];
    check_connection(dialect, wire);
    for end in (0..wire.len()).step_by(usize::from(*piece).max(wire.len() / 8).max(1)) {
        check_connection(dialect, &wire[..end]);
    }
}

/// Decodes any bytes as each reply that an agency may expect. The first byte of the input chooses
/// the dialect, the second the number of bets in the batch that a receipt is compared with.
///
/// A reply that names the winners must name as many as it counts.
pub(crate) fn check_agency(input: &[u8]) {
    let [choice, bets, reply @ ..] = input else { return };
    let with_bets: Vec<_> = DIALECTS.iter().filter_map(|dialect| dialect.agency).collect();
    let options = AgencyOptions { with_count: bets % 2 == 0, ..AgencyOptions::new(1, 4) };
    let mut codec = with_bets[usize::from(*choice) % with_bets.len()](&options);
    let birthdate = Birthdate::new(1999, 3, 17).unwrap();
    for number in 0..bets % 5 {
        let document = "30904465".into();
        let number = Some(number.into());
        let (first_name, last_name) = ("Ana", "Lorca");
        let bet = Bet { agency: 1, first_name, last_name, document, birthdate, number };
        codec.push(&bet).unwrap();
    }
    // A reply may arrive in any pieces: each beginning is decoded, and then the next one.
    for end in 0..=reply.len() {
        let beginning = &reply[..end];
        let receipt = codec.receipt(beginning);
        if codec.denied(beginning).is_some() {
            assert!(receipt.is_err(), "an error is not a receipt");
        }
        let _ = codec.acknowledgement(beginning);
        if let Ok(Some(Answer::Winners(count))) = codec.answer(beginning) {
            let documents = codec.documents(beginning);
            assert!(documents.is_none_or(|documents| documents.len() as u64 == count));
        }
    }
    let _ = codec.documents(reply);
}

#[cfg(test)]
mod tests {
    use super::{check_agency, check_central, check_prepared};
    use crate::corpus::check_corpus;

    #[test]
    fn the_central_decodes_the_corpus_and_changes_of_it_the_same_in_any_pieces() {
        check_corpus("central_codec", 20_000, check_central);
    }

    #[test]
    fn both_paths_of_a_batch_yield_the_same_for_the_corpus_and_changes_of_it() {
        check_corpus("prepared_batch", 20_000, check_prepared);
    }

    #[test]
    fn the_agency_decodes_the_corpus_and_changes_of_it() {
        check_corpus("agency_codec", 10_000, check_agency);
    }
}
