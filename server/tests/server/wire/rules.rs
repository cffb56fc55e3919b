//! The real central follows the rules of every dialect, with whole messages and with messages byte
//! by byte.

use crate::harness::{AgencyConnection, CentralProcess, Setup, bet, codec, eventually, packet_in};
use lottery::protocol::{DIALECTS, Dialect, Rule, Step};

/// Number of an honest agency, which no rule uses.
const HONEST: u16 = 200;

/// A connection that carries out the steps of a rule.
struct Trial {
    port: u16,
    agency: AgencyConnection,
    in_pieces: bool,
}

impl Trial {
    fn new(port: u16, in_pieces: bool) -> Self {
        Self { port, agency: AgencyConnection::open(port), in_pieces }
    }

    fn take(&mut self, step: &Step) {
        match step {
            // The central may refuse a message before its last byte and close the connection.
            Step::Send(bytes) if self.in_pieces => bytes.chunks(1).for_each(|byte| {
                self.agency.try_send(byte);
            }),
            Step::Send(bytes) => self.agency.send(bytes),
            Step::Expect(bytes) => assert_eq!(self.agency.read_bytes(bytes.len()), *bytes),
            Step::ExpectOneOf(replies) => {
                let heard = self.read_until(|heard| replies.iter().any(|reply| reply == heard));
                assert!(replies.contains(&heard));
            }
            Step::ExpectShape(_, judge) => {
                let heard = self.read_until(|heard| judge(heard).is_some());
                assert_eq!(judge(&heard), Some(true), "{heard:?}");
            }
            // This central always ends the connection, with a reset only if the client goes on
            // sending.
            Step::ExpectNothing | Step::ExpectEnd if self.in_pieces => {
                assert!(self.agency.read_until_gone().is_empty())
            }
            Step::ExpectNothing | Step::ExpectEnd => assert!(self.agency.read_to_end().is_empty()),
            Step::HalfClose => self.agency.end_sending(),
            Step::Reconnect => *self = Self::new(self.port, self.in_pieces),
        }
    }

    fn read_until(&mut self, whole: impl Fn(&[u8]) -> bool) -> Vec<u8> {
        let mut heard = Vec::new();
        while !whole(&heard) {
            heard.extend(self.agency.read_bytes(1));
        }
        heard
    }
}

/// Returns true if one of the expected replies acknowledges bets.
fn stores(dialect: &Dialect, rule: &Rule) -> bool {
    let is_success = |reply: &[u8]| match dialect.name {
        "counted" | "counted-u8" => reply == [0],
        "framed" => reply.starts_with(b"SUCCESS"),
        "sentinel" => reply == b"ACK",
        "keyed" => reply.starts_with(&[0x81, 0x81]),
        _ => !reply.is_empty(),
    };
    rule.steps.iter().any(|step| match step {
        Step::Expect(reply) => is_success(reply),
        Step::ExpectOneOf(replies) => replies.iter().any(|reply| is_success(reply)),
        _ => false,
    })
}

/// Asserts that an honest agency can store a bet on a connection of its own.
fn assert_serves_others(setup: &Setup, central: &CentralProcess<'_>, dialect: &Dialect) {
    let rows = setup.rows().len();
    let mut codec = codec(dialect.name, HONEST);
    let packet = packet_in(&mut *codec, &[bet("1", false)]);
    let mut honest = central.connect();
    honest.send(&[codec.greeting(), packet].concat());
    codec.push(&bet("1", false)).unwrap();
    honest.read_reply(|reply| codec.receipt(reply));
    assert_eq!(setup.rows().len(), rows + 1);
}

#[test]
fn every_rule_of_every_dialect_holds_and_a_client_that_breaks_one_harms_no_other() {
    for dialect in DIALECTS {
        let setup = Setup::new().with("SERVER_PROTOCOL", dialect.name);
        let central = setup.start();
        let workers = central.worker_pids();
        let processing = central.segment().raw_array::<u16>("in_flight").unwrap();
        for in_pieces in [false, true] {
            // The central remembers the sessions of the first rules.
            for rule in (dialect.rules)() {
                println!("{}: {} (in pieces: {in_pieces})", dialect.name, rule.name);
                let before = setup.rows();
                let mut trial = Trial::new(central.port, in_pieces);
                rule.steps.iter().for_each(|step| trial.take(step));
                if !stores(dialect, &rule) {
                    assert_eq!(setup.rows(), before, "nothing of it is stored");
                }
                drop(trial);
                let in_flight = || processing.iter().sum::<u16>();
                eventually("no batch in flight", in_flight, |count| *count == 0);
                if dialect.agency.is_some() {
                    assert_serves_others(&setup, &central, dialect);
                }
            }
        }
        assert_eq!(central.worker_pids(), workers, "{}", dialect.name);
        assert_eq!(central.number("worker_deaths"), 0, "{}", dialect.name);
        assert_eq!(
            central.number("agencies_finished"),
            0,
            "{}: no rule finishes an agency",
            dialect.name
        );
        let won = setup.rows().iter().filter(|row| row.ends_with(",7574")).count();
        assert_eq!(won, 0, "{}: no rule stores a winner", dialect.name);
    }
}
