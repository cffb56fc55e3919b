//! The fast path of a batch yields what the general path yields: the same rows, winners and length,
//! for every batch and for any bytes.

use lottery::Birthdate;
use lottery::protocol::{AgencyOptions, DIALECTS, Dialect};
use proptest::prelude::*;
use proptest::sample::{Index, select};

use crate::common::bets::{OwnedBet, any_bets, of_agency};
use crate::common::conversation::{mutated, mutations};
use crate::common::prepared::{check_connection, check_message};
use crate::common::{agency, agency_with, central, filled, vector};

/// Returns the dialects with bets.
fn dialects() -> impl Iterator<Item = &'static Dialect> {
    DIALECTS.iter().filter(|dialect| dialect.agency.is_some())
}

/// Generates a name as agencies send it: mostly ordinary, sometimes with what needs care.
fn any_name(separator: &'static str) -> impl Strategy<Value = String> {
    let ordinary =
        select(vec!["Ana", "Tiago Nicolás", "Lorca", "O'Higgins", "Ñandú", "", "María José"]);
    let unusual = ["a,b", "\"x\"", "¡Olé!", "ª", "🎲", " a ", ";", "|", "BetBatchEnd"];
    let unusual: Vec<_> = unusual
        .into_iter()
        .filter(|text| separator.is_empty() || !text.contains(separator))
        .collect();
    prop_oneof![
        8 => ordinary.prop_map(str::to_owned),
        1 => select(unusual).prop_map(str::to_owned),
        1 => (0_usize..=30).prop_map(|length| "x".repeat(length)),
    ]
}

/// Generates bets as agencies send them. Some win.
pub(crate) fn usual_bets(dialect: &Dialect) -> impl Strategy<Value = Vec<OwnedBet>> + use<> {
    let separator = match dialect.name {
        "typed" | "keyed" => ";",
        "line" => ",",
        "framed" => "|",
        _ => "",
    };
    let document = prop_oneof![
        6 => (0_u32..=99_999_999).boxed(),
        1 => any::<u32>().boxed(),
    ];
    let number = prop_oneof![6 => 0_u32..=9999, 1 => Just(7574), 1 => 0_u32..=65_535];
    let number = if dialect.number_is_optional {
        prop_oneof![3 => number.prop_map(Some), 1 => Just(None)].boxed()
    } else {
        number.prop_map(Some).boxed()
    };
    let dates = (1_u16..=9999, 1_u8..=12, 1_u8..=28)
        .prop_map(|(year, month, day)| Birthdate::new(year, month, day).unwrap());
    let texts = (any_name(separator), any_name(separator), document)
        .prop_map(|(first, last, document)| [first, last, document.to_string()]);
    prop::collection::vec((texts, dates, number), 2..60)
}

/// Returns the bytes of the greeting and of a batch with as many of these bets as fit.
fn wire(dialect: &Dialect, options: &AgencyOptions, owned: &[OwnedBet]) -> Vec<u8> {
    let mut agency = agency_with(dialect.name, options);
    let greeting = agency.greeting();
    let (_, packet) = filled(&mut *agency, of_agency(owned, options.agency));
    [greeting, packet].concat()
}

fn any_agency(dialect: &Dialect) -> impl Strategy<Value = AgencyOptions> + use<> {
    let connection = prop::sample::select(dialect.connections);
    (1..=dialect.max_agency, any::<bool>(), connection).prop_map(
        |(agency, with_count, connection)| AgencyOptions {
            with_count,
            connection,
            ..AgencyOptions::new(agency, u16::MAX)
        },
    )
}

#[test]
fn a_batch_of_usual_bets_takes_the_fast_path_and_yields_the_same() {
    for dialect in dialects() {
        proptest!(|(options in any_agency(dialect), owned in usual_bets(dialect))| {
            let wire = wire(dialect, &options, &owned);
            prop_assert!(check_connection(dialect, &wire), "{}: {:02x?}", dialect.name, wire);
        });
    }
}

#[test]
fn a_batch_of_any_bets_yields_the_same() {
    for dialect in dialects() {
        proptest!(|(options in any_agency(dialect), owned in any_bets(dialect.name, 30))| {
            check_connection(dialect, &wire(dialect, &options, &owned));
        });
    }
}

#[test]
fn a_changed_batch_yields_the_same_or_is_left_to_the_general_path() {
    for dialect in dialects() {
        proptest!(|(
            options in any_agency(dialect), owned in usual_bets(dialect), changes in mutations(),
            cut in any::<Index>(), after in prop::collection::vec(any::<u8>(), 0..100),
        )| {
            let wire = mutated(wire(dialect, &options, &owned), &changes);
            check_connection(dialect, &wire);
            check_connection(dialect, &wire[..cut.index(wire.len())]);
            check_connection(dialect, &[wire, after].concat());
        });
    }
}

#[test]
fn any_bytes_yield_the_same_or_are_left_to_the_general_path() {
    for dialect in dialects() {
        proptest!(|(bytes in prop::collection::vec(prop_oneof![0_u8..4, any::<u8>()], 0..300))| {
            check_connection(dialect, &bytes);
        });
    }
}

#[test]
fn a_batch_that_arrives_in_pieces_is_prepared_once_it_is_complete() {
    for dialect in dialects() {
        proptest!(|(owned in usual_bets(dialect), piece in 1_usize..400)| {
            let wire = wire(dialect, &AgencyOptions::new(1, u16::MAX), &owned);
            let mut codec = (dialect.central)();
            let greeting = agency(dialect.name, 1).greeting().len();
            if greeting > 0 {
                let _ = codec.decode(&wire);
            }
            let batch = &wire[greeting..];
            for end in (piece..batch.len()).step_by(piece) {
                assert!(!check_message(&mut *codec, &batch[..end]), "{}", dialect.name);
            }
            prop_assert!(check_message(&mut *codec, batch), "{}", dialect.name);
        });
    }
}

/// Returns a `typed` batch of these records.
fn typed(records: &[&[u8]]) -> Vec<u8> {
    let mut batch = vec![0];
    batch.extend_from_slice(&u16::try_from(records.len()).unwrap().to_be_bytes());
    for record in records {
        batch.extend_from_slice(&u16::try_from(record.len()).unwrap().to_be_bytes());
        batch.extend_from_slice(record);
    }
    batch
}

#[test]
fn a_record_that_needs_care_takes_the_general_path_alone() {
    let usual = b"Ana;Lorca;30904465;1999-03-17;7574";
    let long = "x".repeat(255);
    let longest = format!("{long};{long};{long};1999-03-17;4294967295");
    let records: [&[u8]; 10] = [
        b"Ana, la \"Nata\";Lorca;1;1999-03-17;1",
        b"Ana;Lorca;1;1999-3-7;1",
        b"Ana;Lorca;1;1999-3-7",
        "¡Ana!;Lorca;1;1999-03-17;1".as_bytes(),
        b"Ana;Lorca;M-5;1999-03-17;4294967295",
        b"Ana;Lorca;007;1999-03-17;123456789",
        b";;;2000-02-29;0",
        b"Ana;Lorca;1;0001-01-01",
        longest.as_bytes(),
        "🎲;Ñ;1;9999-12-31;99999999".as_bytes(),
    ];
    for record in records {
        for batch in [[record, usual, usual], [usual, record, usual], [usual, usual, record]] {
            assert!(check_message(&mut *central("typed"), &typed(&batch)), "{record:02x?}");
        }
    }
}

#[test]
fn an_invalid_record_leaves_the_whole_batch_to_the_general_path() {
    let usual = b"Ana;Lorca;30904465;1999-03-17;7574";
    let records: [&[u8]; 12] = [
        b"",
        b"Ana;Lorca;1",
        b"Ana;Lorca;1;1999-03-17;1;",
        b"Ana;Lorca;1;1999-02-29;1",
        b"Ana;Lorca;1;0000-01-01;1",
        b"Ana;Lorca;1;1999-03-17;",
        b"Ana;Lorca;1;1999-03-17;07",
        b"Ana;Lorca;1;1999-03-17;4294967296",
        b"A\na;Lorca;1;1999-03-17;1",
        b"A\x7fa;Lorca;1;1999-03-17;1",
        b"A\xc2\x85a;Lorca;1;1999-03-17;1",
        b"A\xc3;Lorca;1;1999-03-17;1",
    ];
    for record in records {
        for batch in [[record, usual, usual], [usual, record, usual], [usual, usual, record]] {
            let batch = typed(&batch);
            assert!(central("typed").decode(&batch).is_err(), "{record:02x?}");
            assert!(!check_message(&mut *central("typed"), &batch), "{record:02x?}");
        }
    }
}

#[test]
fn a_batch_of_one_bet_and_a_batch_of_two_agencies_are_left_to_the_general_path() {
    for dialect in dialects().filter(|dialect| dialect.waits_for_draw) {
        let mut agency = agency(dialect.name, 1);
        let (_, one) = filled(&mut *agency, vec![crate::common::bets::lorca()]);
        assert!(!check_connection(dialect, &[agency.greeting(), one].concat()), "{}", dialect.name);
    }
    let two: Vec<u8> = [1, 5]
        .into_iter()
        .flat_map(|agency| format!("[AGENCY {agency}] Bet 7,Ana,Lorca,1,1999-03-17\n").into_bytes())
        .chain(*b"[AGENCY 1] BetBatchEnd\n")
        .collect();
    assert!(!check_message(&mut *central("line"), &two));
}

#[test]
fn batches_of_the_originals_take_the_fast_path() {
    for (dialect, name) in
        [("typed", "five_fields_batch_LT"), ("typed", "batch_LTA"), ("framed", "batch_LT")]
    {
        assert!(check_message(&mut *central(dialect), &vector(dialect, name)), "{dialect} {name}");
    }
}

#[test]
fn every_dialect_can_answer_with_a_plain_decimal_as_the_document() {
    for dialect in DIALECTS {
        proptest!(|(document: u32, zeros in 0_u32..32)| {
            let document = (document >> zeros).to_string();
            prop_assert_eq!((dialect.check_document)(&document), Ok(()), "{}", dialect.name);
        });
    }
}
