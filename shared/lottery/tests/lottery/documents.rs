//! The documents that an agency decodes from the replies of every dialect, checked with the
//! vectors.

use crate::common::{agency, vector};
use lottery::protocol::DIALECTS;

/// A dialect, the vector of a reply, and the documents in it.
const REPLIES: [(&str, &str, &[&str]); 16] = [
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
    ("keyed", "winners_none", &[]),
    ("keyed", "winners_agency4_dataset", &["34963649", "35635602"]),
    ("keyed", "stored_none", &[]),
    ("keyed", "stored_L", &["30904465"]),
    ("typed", "batch_reply_no_winner", &[]),
    ("typed", "five_fields_batch_LT_reply", &["30904465"]),
];

fn documents(dialect: &str, reply: &[u8]) -> Option<Vec<String>> {
    agency(dialect, 1).documents(reply)
}

#[test]
fn a_complete_reply_contains_the_documents_of_its_winners_in_order() {
    for (dialect, name, expected) in REPLIES {
        let expected = expected.iter().map(ToString::to_string).collect();
        assert_eq!(documents(dialect, &vector(dialect, name)), Some(expected), "{dialect} {name}");
    }
}

#[test]
fn a_truncated_reply_and_one_with_trailing_bytes_contain_no_documents() {
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
fn other_replies_contain_no_documents() {
    for (dialect, name) in [
        ("framed", "success_1"),
        ("framed", "ack"),
        ("sentinel", "ack"),
        ("keyed", "finished"),
        ("keyed", "results_total_3"),
        ("keyed", "error_closed"),
        ("typed", "results_total_3"),
    ] {
        assert_eq!(documents(dialect, &vector(dialect, name)), None, "{dialect} {name}");
    }
    assert_eq!(documents("framed", b"ERROR|Lottery not yet completed\n"), None);
}

#[test]
fn replies_of_line_contain_no_documents() {
    for name in ["winners_0", "winners_1", "batch_end_1_and_its_echo"] {
        assert_eq!(documents("line", &vector("line", name)), None, "{name}");
    }
}

#[test]
fn several_empty_documents_are_not_mistaken_for_none() {
    assert_eq!(documents("framed", b"WINNERS||\n"), Some(vec![String::new(); 2]));
}

#[test]
fn every_dialect_with_bets_is_tested_here() {
    let with_bets =
        DIALECTS.iter().filter(|dialect| dialect.agency.is_some()).map(|dialect| dialect.name);
    let is_tested = |name| name == "line" || REPLIES.iter().any(|(dialect, ..)| *dialect == name);
    assert_eq!(with_bets.filter(|name| !is_tested(*name)).collect::<Vec<_>>(), Vec::<&str>::new());
}
