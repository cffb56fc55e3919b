//! The rules of a server of `sentinel`. An original server breaks the last three.

use super::{ACK, ERR};
use crate::protocol::{Rule, Step};

const HELLO: u8 = 1;
const DATE: &[u8] = b"2001-08-29";

/// Returns the rules, in the order in which they are checked.
pub fn rules() -> Vec<Rule> {
    [stored_batches(), refused_batches()].into_iter().flatten().collect()
}

/// Returns the packet of a valid bet.
fn good() -> Vec<u8> {
    packet("Tiago Nicolás".as_bytes(), b"Rivera", DATE)
}

fn stored_batches() -> Vec<Rule> {
    let longest = "ñ".repeat(30);
    vec![
        Rule::new(
            ("batches", "batches on one connection are stored and answered with ACK"),
            conversation(&[(batch(&[good(), good()]), ACK), (batch(&[good()]), ACK)]),
        ),
        Rule::new(
            ("empty-batch", "an empty batch is answered with ACK"),
            conversation(&[(batch(&[]), ACK), (batch(&[good()]), ACK)]),
        ),
        Rule::new(
            ("name-lengths", "names may be empty and may have 30 characters"),
            conversation(&[(
                batch(&[
                    packet(b"", b"", DATE),
                    packet(longest.as_bytes(), longest.as_bytes(), DATE),
                ]),
                ACK,
            )]),
        ),
    ]
}

fn refused_batches() -> Vec<Rule> {
    let refused = |name, bad: Vec<u8>| {
        Rule::invalid(name, conversation(&[(batch(&[good(), bad]), ERR), (batch(&[good()]), ACK)]))
    };
    let cut = {
        let mut packet = good();
        packet.truncate(packet.len() - 1);
        packet
    };
    let mut early = [&[HELLO][..], &batch(&[good()])].concat();
    early.truncate(early.len() - 3);
    vec![
        refused(
            ("long-first-name", "a first name of 31 characters is answered with ERR"),
            packet(&[b'A'; 31], b"B", DATE),
        ),
        refused(
            ("long-last-name", "a last name of 31 characters is answered with ERR"),
            packet(b"A", &[b'B'; 31], DATE),
        ),
        refused(
            ("not-utf8", "a name that is not UTF-8 is answered with ERR"),
            packet(b"\xFF", b"B", DATE),
        ),
        refused(
            ("date-length", "a date of 9 characters is answered with ERR"),
            packet(b"A", b"B", "2001-08-é".as_bytes()),
        ),
        refused(
            ("cut-packet", "a packet truncated by the end of the batch is answered with ERR"),
            cut,
        )
        .broken_by_an_original(),
        refused(
            ("impossible-date", "an impossible date is answered with ERR"),
            packet(b"A", b"B", b"1999-13-17"),
        )
        .fatal_to_an_original(),
        Rule::invalid(
            ("cut-batch", "a batch that ends too early gets no reply"),
            vec![Step::Send(early), Step::HalfClose, Step::ExpectNothing],
        )
        .fatal_to_an_original(),
    ]
}

/// Returns the steps after connecting: the hello, then each batch and the reply to it.
fn conversation(batches: &[(Vec<u8>, &[u8])]) -> Vec<Step> {
    let mut steps = vec![Step::Send(vec![HELLO])];
    for (batch, reply) in batches {
        steps.extend([Step::Send(batch.clone()), Step::Expect(reply.to_vec())]);
    }
    steps
}

/// Returns the packet of a bet that does not win.
fn packet(first_name: &[u8], last_name: &[u8], date: &[u8]) -> Vec<u8> {
    let mut fields = Vec::new();
    for name in [first_name, last_name] {
        fields.push(name.len() as u8);
        fields.extend_from_slice(name);
    }
    fields.extend_from_slice(date);
    fields.extend_from_slice(&34_407_251_u32.to_be_bytes());
    fields.extend_from_slice(&1033_u32.to_be_bytes());
    [&(fields.len() as u16).to_be_bytes()[..], &fields].concat()
}

fn batch(packets: &[Vec<u8>]) -> Vec<u8> {
    let payload = packets.concat();
    [&(payload.len() as u16).to_be_bytes()[..], &payload].concat()
}
