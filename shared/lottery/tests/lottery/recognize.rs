//! A peer that speaks another dialect than its port is recognized by its first message.

use lottery::protocol::{DIALECTS, Dialect};

use crate::common::bets::{any_bets, lorca, of_agency, rivera};
use crate::common::{agency, dialect, filled, packet, vector};
use proptest::prelude::*;

fn names(dialects: &[&Dialect]) -> Vec<&'static str> {
    dialects.iter().map(|dialect| dialect.name).collect()
}

/// Returns the dialects with bets.
fn with_bets() -> impl Iterator<Item = &'static Dialect> {
    DIALECTS.iter().filter(|dialect| dialect.agency.is_some())
}

#[test]
fn the_first_batch_of_an_agency_shows_its_dialect_on_every_other_port() {
    for spoken in with_bets() {
        proptest!(|(owned in any_bets(spoken.name, 10), number in 1..=255_u16)| {
            let mut codec = agency(spoken.name, number);
            let bets = of_agency(&owned, number);
            let greeting = codec.greeting();
            let (_, packet) = filled(&mut *codec, bets);
            let bytes = [greeting, packet].concat();
            for port in with_bets().filter(|port| *port != spoken) {
                let found = names(&port.others_that_accept(&bytes));
                prop_assert!(found.contains(&spoken.name), "{found:?}, port of {}", port.name);
            }
        });
    }
}

#[test]
fn an_ordinary_batch_is_valid_in_its_own_dialect_only() {
    for spoken in with_bets() {
        let mut codec = agency(spoken.name, 1);
        let greeting = codec.greeting();
        let bytes = [greeting, packet(&mut *codec, &[lorca(), rivera()])].concat();
        for port in with_bets().filter(|port| *port != spoken) {
            let found = names(&port.others_that_accept(&bytes));
            assert_eq!(found, [spoken.name], "port of {}", port.name);
        }
        assert!(spoken.others_that_accept(&bytes).is_empty(), "{}", spoken.name);
    }
}

#[test]
fn a_line_of_prose_is_a_message_of_the_echo_exercise_unless_the_port_expects_lines_too() {
    for port in with_bets() {
        let found = names(&port.others_that_accept("[CLIENT 1] Message N°1\n".as_bytes()));
        let expected = if port.name == "line" { vec![] } else { vec!["echo"] };
        assert_eq!(found, expected, "port of {}", port.name);
    }
}

#[test]
fn short_cut_and_very_long_messages_identify_no_dialect() {
    let typed = dialect("typed");
    let batch = vector("sentinel", "batch_L");
    let whole = [&[1][..], &batch].concat();
    assert_eq!(names(&typed.others_that_accept(&whole)), ["sentinel"]);
    for cut in 0..whole.len() {
        assert!(typed.others_that_accept(&whole[..cut]).is_empty(), "{cut} bytes");
    }
    for short in [&[0, 0, 1][..], &[1], b"\x01\x23\x28", b"\0\x0cFINISH"] {
        assert!(dialect("echo").others_that_accept(short).is_empty(), "{short:?}");
    }
    let long = [&whole[..], &[0; 64 * 1024]].concat();
    assert!(typed.others_that_accept(&long).is_empty());
}
