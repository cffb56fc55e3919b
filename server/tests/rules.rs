//! The rules of every dialect, held against the real central over real connections: whole messages, and messages byte by byte.

#![allow(clippy::unwrap_used)]

use harness::{Agency, Central, Setup, bet, codec, packet_in};
use lottery::protocol::{DIALECTS, Dialect, Rule, Step};

/// Agency of the honest neighbour; no rule has it.
const HONEST: u16 = 200;

/// A connection on which a rule is tried.
struct Trial {
    port: u16,
    agency: Agency,
    in_pieces: bool,
}

impl Trial {
    fn new(port: u16, in_pieces: bool) -> Self {
        Self { port, agency: Agency::connect(port), in_pieces }
    }

    fn take(&mut self, step: &Step) {
        match step {
            // Refused before its last byte, a message has nobody to take the rest.
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
            // Ours always ends the connection, and without a reset unless the peer goes on sending.
            Step::ExpectNothing if self.in_pieces => {
                assert!(self.agency.read_until_gone().is_empty())
            }
            Step::ExpectNothing => assert!(self.agency.read_to_end().is_empty()),
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

/// Whether one of the replies says that bets are stored.
fn stores(dialect: &Dialect, rule: &Rule) -> bool {
    let is_success = |reply: &[u8]| match dialect.name {
        "counted" | "counted-u8" => reply == [0],
        "framed" => reply.starts_with(b"SUCCESS"),
        "sentinel" => reply == b"ACK",
        _ => !reply.is_empty(),
    };
    rule.steps.iter().any(|step| match step {
        Step::Expect(reply) => is_success(reply),
        Step::ExpectOneOf(replies) => replies.iter().any(|reply| is_success(reply)),
        _ => false,
    })
}

/// An honest agency stores a bet on a connection of its own.
fn serves_others(setup: &Setup, central: &Central<'_>, dialect: &Dialect) {
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
fn every_rule_of_every_dialect_holds_and_whoever_breaks_one_harms_nobody_else() {
    for dialect in DIALECTS {
        let setup = Setup::new(env!("CARGO_BIN_EXE_server")).with("SERVER_PROTOCOL", dialect.name);
        let central = setup.start();
        let workers = central.worker_pids();
        let processing = central.segment().raw_array::<u16>("in_flight").unwrap();
        for rule in (dialect.rules)() {
            for in_pieces in [false, true] {
                println!("{}: {} (in pieces: {in_pieces})", dialect.name, rule.name);
                let before = setup.rows();
                let mut trial = Trial::new(central.port, in_pieces);
                rule.steps.iter().for_each(|step| trial.take(step));
                if !stores(dialect, &rule) {
                    assert_eq!(setup.rows(), before, "nothing of it is stored");
                }
                drop(trial);
                let in_flight = || processing.iter().sum::<u16>();
                harness::eventually("nobody in flight", in_flight, |count| *count == 0);
                if dialect.agency.is_some() {
                    serves_others(&setup, &central, dialect);
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
