//! Bets in the formats of the stored files: rows of `bets.csv`, as the course's `store_bets` writes
//! them, and lines of `winners.log`.

use csv::{QuoteStyle, Terminator, WriterBuilder};

use crate::{Bet, Birthdate};

/// Appends one row per bet to `rows`: agency, first name, last name, document, birthdate (ISO) and
/// number, separated by commas, with minimal quoting and CRLF. A bet without a number writes 0.
///
/// # Errors
/// Writing to memory does not fail in practice. The `csv` crate's result is returned so that this
/// function needs no panic.
pub fn write_rows(bets: &[Bet<'_>], rows: &mut Vec<u8>) -> csv::Result<()> {
    let mut writer = WriterBuilder::new()
        .has_headers(false)
        .quote_style(QuoteStyle::Necessary)
        .terminator(Terminator::CRLF)
        .from_writer(rows);
    let mut digits = itoa::Buffer::new();
    for bet in bets {
        writer.write_field(digits.format(bet.agency))?;
        writer.write_field(bet.first_name)?;
        writer.write_field(bet.last_name)?;
        writer.write_field(bet.document.as_str())?;
        writer.write_field(bet.birthdate.iso_bytes())?;
        writer.write_field(digits.format(bet.number.unwrap_or(0)))?;
        writer.write_record(None::<&[u8]>)?;
    }
    writer.flush()?;
    Ok(())
}

/// Returns the bet in the fields of a row of `bets.csv`, or `None` if they are not those of a bet.
/// It has the number 0 if it has none: the row does not tell.
pub fn bet_of_row<'a>(fields: impl IntoIterator<Item = &'a str>) -> Option<Bet<'a>> {
    let mut fields = fields.into_iter();
    let bet = Bet {
        agency: fields.next()?.parse().ok()?,
        first_name: fields.next()?,
        last_name: fields.next()?,
        document: fields.next()?.into(),
        birthdate: Birthdate::from_iso(fields.next()?)?,
        number: Some(fields.next()?.parse().ok()?),
    };
    fields.next().is_none().then_some(bet)
}

/// Appends the line of `winners.log` for a winner, in the format of the winners file of the 2022
/// assignment:
/// `Full name: F L | Document: D | Date of Birth: DD/MM/YYYY`.
pub fn write_winner_line(bet: &Bet<'_>, lines: &mut Vec<u8>) {
    let [y1, y2, y3, y4, _, m1, m2, _, d1, d2] = bet.birthdate.iso_bytes();
    for part in [
        "Full name: ",
        bet.first_name,
        " ",
        bet.last_name,
        " | Document: ",
        bet.document.as_str(),
        " | Date of Birth: ",
    ] {
        lines.extend_from_slice(part.as_bytes());
    }
    lines.extend_from_slice(&[d1, d2, b'/', m1, m2, b'/', y1, y2, y3, y4, b'\n']);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bet<'a>(
        agency: u16,
        first_name: &'a str,
        last_name: &'a str,
        number: Option<u32>,
    ) -> Bet<'a> {
        let birthdate = Birthdate::new(1999, 3, 17).unwrap();
        Bet { agency, first_name, last_name, document: "30904465".into(), birthdate, number }
    }

    fn rows(bets: &[Bet<'_>]) -> String {
        let mut rows = Vec::new();
        write_rows(bets, &mut rows).unwrap();
        String::from_utf8(rows).unwrap()
    }

    #[test]
    fn a_row_equals_what_store_bets_of_the_course_writes() {
        // Quoted from the course's notes on store_bets.
        let lorca = bet(1, "Santiago Lionel", "Lorca", Some(7574));
        assert_eq!(rows(&[lorca]), "1,Santiago Lionel,Lorca,30904465,1999-03-17,7574\r\n");
    }

    #[test]
    fn a_bet_without_agency_or_number_writes_zeros() {
        assert_eq!(rows(&[bet(0, "", "", None)]), "0,,,30904465,1999-03-17,0\r\n");
    }

    #[test]
    fn only_fields_that_need_quotes_are_quoted() {
        let quoted = bet(65535, "Ana, la \"Ñata\"", "O'Higgins", Some(u32::MAX));
        assert_eq!(
            rows(&[quoted]),
            "65535,\"Ana, la \"\"Ñata\"\"\",O'Higgins,30904465,1999-03-17,4294967295\r\n"
        );
    }

    #[test]
    fn a_winner_line_has_the_format_of_the_assignment() {
        let mut line = Vec::new();
        write_winner_line(&bet(1, "Santiago Lionel", "Lorca", None), &mut line);
        assert_eq!(
            line,
            b"Full name: Santiago Lionel Lorca | Document: 30904465 | Date of Birth: 17/03/1999\n"
        );
    }

    proptest! {
        #[test]
        fn rows_are_read_back_as_the_bets_written(
            names in prop::collection::vec(("\\PC{0,20}", "[\",a ]{0,8}"), 1..20),
        ) {
            let bets: Vec<_> =
                names.iter().map(|(first, last)| bet(7, first, last, Some(12))).collect();
            let text = rows(&bets);
            let mut reader =
                csv::ReaderBuilder::new().has_headers(false).from_reader(text.as_bytes());
            let read: Vec<_> = reader.records().map(Result::unwrap).collect();
            prop_assert_eq!(read.len(), bets.len());
            for (row, bet) in read.iter().zip(&bets) {
                let (first, last) = (bet.first_name, bet.last_name);
                prop_assert_eq!(row, vec!["7", first, last, "30904465", "1999-03-17", "12"]);
                prop_assert_eq!(bet_of_row(row), Some(*bet));
            }
        }
    }
}
