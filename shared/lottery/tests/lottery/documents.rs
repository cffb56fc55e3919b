//! The documents that an agency reads out of the replies of every dialect, by the vectors taken from the original programs.

use crate::common::{agency, vector};
use lottery::protocol::DIALECTS;

/// Dialect, vector of a reply, the documents it names.
const REPLIES: [(&str, &str, &[&str]); 12] = [
    ("counted", "winners_none", &[]),
    ("counted", "winners_L", &["30904465"]),
    ("counted", "winners_agency4_dataset", &["34963649", "35635602"]),
    ("counted-u8", "winners_none", &[]),
    ("counted-u8", "winners_agency4_dataset", &["34963649", "35635602"]),
    ("framed", "winners_none", &[]),
    ("framed", "winners_L", &["30904465"]),
    ("framed", "winners_agency4_dataset", &["34963649", "35635602"]),
    ("sentinel", "winners_none", &[]),
    ("sentinel", "winners_agency4_dataset", &["34963649", "35635602"]),
    ("typed", "batch_reply_no_winner", &[]),
    ("typed", "five_fields_batch_LT_reply", &["30904465"]),
];

fn documents(dialect: &str, reply: &[u8]) -> Option<Vec<String>> {
    agency(dialect, 1).documents(reply)
}

#[test]
fn a_whole_reply_names_the_documents_of_its_winners_in_order() {
    for (dialect, name, expected) in REPLIES {
        let expected = expected.iter().map(ToString::to_string).collect();
        assert_eq!(documents(dialect, &vector(dialect, name)), Some(expected), "{dialect} {name}");
    }
}

#[test]
fn a_reply_that_is_cut_off_or_goes_on_names_none() {
    for (dialect, name, _) in REPLIES {
        let reply = vector(dialect, name);
        for end in 0..reply.len() {
            assert_eq!(documents(dialect, &reply[..end]), None, "{end} bytes of {dialect} {name}");
        }
        assert_eq!(
            documents(dialect, &[&reply[..], b"\0"].concat()),
            None,
            "{dialect} {name} and a byte"
        );
    }
}

#[test]
fn other_replies_name_none() {
    for (dialect, name) in [
        ("framed", "success_1"),
        ("framed", "ack"),
        ("sentinel", "ack"),
        ("typed", "results_total_3"),
    ] {
        assert_eq!(documents(dialect, &vector(dialect, name)), None, "{dialect} {name}");
    }
    assert_eq!(documents("framed", b"ERROR|Lottery not yet completed\n"), None);
}

#[test]
fn where_only_the_number_of_winners_travels_no_reply_names_any() {
    for name in ["winners_0", "winners_1", "batch_end_1_and_its_echo"] {
        assert_eq!(documents("line", &vector("line", name)), None, "{name}");
    }
}

#[test]
fn several_empty_documents_are_not_taken_for_none() {
    assert_eq!(documents("framed", b"WINNERS||\n"), Some(vec![String::new(); 2]));
}

#[test]
fn every_dialect_that_carries_bets_is_looked_at_here() {
    let carry =
        DIALECTS.iter().filter(|dialect| dialect.agency.is_some()).map(|dialect| dialect.name);
    let looked_at = |name| name == "line" || REPLIES.iter().any(|(dialect, ..)| *dialect == name);
    assert_eq!(carry.filter(|name| !looked_at(*name)).collect::<Vec<_>>(), Vec::<&str>::new());
}
