//! The rules that every server of `keyed` must keep.

use super::agency::Failure;
use super::message::{VERSION, put_message};
use super::{BATCH, FINISH, LAST, REPLY, RESULTS, RESULTS_BYTES, SESSION, SESSION_BYTES, WINNERS};
use crate::BatchKey;
use crate::protocol::{MAX_REQUEST_BYTES, Rule, Step, Title};

/// Bet T of the test vectors. It does not win.
const RIVERA: &[u8] = "Tiago Nicolás;Rivera;34407251;2001-08-29;1033".as_bytes();
/// Another bet that does not win.
const ALVAREZ: &[u8] = "Santiago;Álvarez;33936970;1986-04-25;7068".as_bytes();

/// Returns the rules, in the order in which they are checked. Their sessions are new in each call.
pub fn rules() -> Vec<Rule> {
    let rules = [
        sessions(),
        questions(),
        other_requests(),
        refused_batches(),
        last_requests(),
        connection_ends(),
    ];
    rules.into_iter().flatten().collect()
}

fn sessions() -> Vec<Rule> {
    let mut rules = vec![Rule::new(
        ("batch", "a batch is stored and answered without winners"),
        vec![send(Session::new(1).batch(1, RIVERA)), stored()],
    )];
    let mut rule = |name, steps: fn(Session) -> Vec<Step>| {
        rules.push(Rule::new(name, steps(Session::new(1))));
    };
    rule(
        ("repetition", "a repetition is answered with the same bytes and takes no number"),
        |session| {
            let first = || send(session.batch(1, RIVERA));
            let next = send(session.batch(2, ALVAREZ));
            vec![
                first(),
                stored(),
                first(),
                stored(),
                Step::Reconnect,
                first(),
                stored(),
                next,
                stored(),
            ]
        },
    );
    rule(("pipelined", "two batches in one segment are answered in order"), |session| {
        let both = [session.batch(1, RIVERA), session.batch(2, RIVERA)].concat();
        vec![send(both), Step::Expect([NO_WINNERS, NO_WINNERS].concat())]
    });
    rule(("gap", "a batch after a gap is refused with the expected number"), |session| {
        let (first, third) = (send(session.batch(1, RIVERA)), send(session.batch(3, RIVERA)));
        let second = send(session.batch(2, RIVERA));
        vec![first, stored(), third, sequence::<2>(), second, stored()]
    });
    rule(
        ("first-number", "a session that does not start with batch 1 is refused with 1"),
        |session| vec![send(session.batch(2, RIVERA)), sequence::<1>()],
    );
    rule(
        ("older-number", "a batch before the last one is refused with the expected number"),
        |session| {
            let batch = |number| send(session.batch(number, RIVERA));
            vec![batch(1), stored(), batch(2), stored(), batch(1), sequence::<3>()]
        },
    );
    rule(("other-bets", "the last number with other bets is refused with 31"), |session| {
        let (first, other) = (|| send(session.batch(1, RIVERA)), send(session.batch(1, ALVAREZ)));
        vec![first(), stored(), other, error::<0x31>(), first(), stored()]
    });
    rule(("other-agency", "a session of another agency is refused with 34"), |session| {
        let other = Session { agency: 2, ..session };
        let (first, next) = (send(session.batch(1, RIVERA)), send(other.batch(2, RIVERA)));
        vec![first, stored(), next, error::<0x34>()]
    });
    rule(("two-sessions", "two sessions of an agency have their own numbers"), |session| {
        let other = Session::new(1);
        let (first, second) = (send(session.batch(1, RIVERA)), send(other.batch(1, RIVERA)));
        vec![first, stored(), second, stored()]
    });
    rules
}

/// Rules about the question for the number of the next batch.
fn questions() -> Vec<Rule> {
    let rule = |name, steps: fn(Session) -> Vec<Step>| Rule::new(name, steps(Session::new(1)));
    vec![
        rule(
            ("next-number", "the next number is 1 before the first batch and 3 after two batches"),
            |session| {
                let batch = |number| send(session.batch(number, RIVERA));
                let question = || send(session.question());
                let (first, second) = (batch(1), batch(2));
                vec![question(), next(1), first, stored(), second, stored(), question(), next(3)]
            },
        ),
        rule(
            (
                "next-other-agency",
                "the next number of a session of another agency is refused with 34",
            ),
            |session| {
                let other = Session { agency: 2, ..session };
                vec![
                    send(session.batch(1, RIVERA)),
                    stored(),
                    send(other.question()),
                    error::<0x34>(),
                ]
            },
        ),
    ]
}

fn other_requests() -> Vec<Rule> {
    let refused = |name, kind, body: &[u8]| {
        let next = send(Session::new(1).batch(1, RIVERA));
        Rule::invalid(name, vec![send(message(kind, body)), error::<0x30>(), next, stored()])
    };
    vec![
        Rule::new(
            ("results", "a query for the results is answered with batches in flight and winners"),
            vec![
                send(message(RESULTS, &[])),
                Step::ExpectShape("81 82 0000000c, u32 and u64", |reply| {
                    let head = [VERSION, RESULTS | REPLY, 0, 0, 0, RESULTS_BYTES as u8];
                    if reply.len() < head.len() + RESULTS_BYTES {
                        return None;
                    }
                    let is_whole = reply.len() == head.len() + RESULTS_BYTES;
                    Some(is_whole && reply.starts_with(&head))
                }),
            ],
        ),
        refused(
            ("results-body", "a query for the results with a body is refused with 30"),
            RESULTS,
            &[0],
        ),
        refused(("finish-agency-0", "a finish of agency 0 is refused with 30"), FINISH, &[0, 0]),
        refused(
            ("finish-length", "a finish with a body of 3 bytes is refused with 30"),
            FINISH,
            &[0, 1, 0],
        ),
        refused(
            ("winners-agency-0", "a query for the winners of agency 0 is refused with 30"),
            WINNERS,
            &[0, 0],
        ),
        refused(
            ("winners-no-agency", "a query for winners without an agency is refused with 30"),
            WINNERS,
            &[],
        ),
        refused(
            ("session-no-agency", "a question for a session without an agency is refused with 30"),
            SESSION,
            &[7; 16],
        ),
        refused(("unknown-type", "an unknown type is refused with 30"), 0x3F, b"any"),
    ]
}

/// Rules about a batch that is refused. The connection continues, and the number remains free.
fn refused_batches() -> Vec<Rule> {
    let refused = |name: Title, bad: &dyn Fn(Session) -> Vec<u8>| {
        let session = Session::new(1);
        let good = send(session.batch(1, RIVERA));
        Rule::invalid(name, vec![send(bad(session)), error::<0x30>(), good, stored()])
    };
    let counted = |name, count, records: &[&[u8]]| {
        refused(name, &|session| session.batch_of(1, count, records))
    };
    let record = |name, record: &[u8]| counted(name, 2, &[RIVERA, record]);
    vec![
        counted(("empty-batch", "a batch of 0 records is refused with 30"), 0, &[]),
        counted(
            ("too-many-records", "more records than announced are refused with 30"),
            1,
            &[RIVERA, RIVERA],
        ),
        counted(
            ("too-few-records", "fewer records than announced are refused with 30"),
            2,
            &[RIVERA],
        ),
        refused(("number-0", "a batch with number 0 is refused with 30"), &|session| {
            session.batch(0, RIVERA)
        }),
        refused(("agency-0", "a batch of agency 0 is refused with 30"), &|session| {
            Session { agency: 0, ..session }.batch(1, RIVERA)
        }),
        refused(("cut-key", "a batch that ends within its key is refused with 30"), &|session| {
            message(BATCH, &session.id)
        }),
        record(("three-fields", "a record of 3 fields is refused with 30"), b"Ana;Lorca;1"),
        record(
            ("six-fields", "a record of 6 fields is refused with 30"),
            b"Ana;Lorca;1;1999-03-17;1;1",
        ),
        record(
            ("impossible-date", "an impossible date is refused with 30"),
            b"Ana;Lorca;1;1999-13-17;1",
        ),
        record(
            ("bet-number", "a bet number that is no integer is refused with 30"),
            b"Ana;Lorca;1;1999-03-17;x",
        ),
        record(
            ("not-utf8", "a record that is not UTF-8 is refused with 30"),
            b"\xFF;Lorca;1;1999-03-17;1",
        ),
    ]
}

/// Rules about a request after which the central closes.
fn last_requests() -> Vec<Rule> {
    let rule = |name, steps: fn(Session) -> Vec<Step>| Rule::new(name, steps(Session::new(1)));
    vec![
        rule(("last-batch", "a last batch is stored and ends the connection"), |session| {
            let (first, next) = (session.batch(1, RIVERA), session.batch(2, ALVAREZ));
            vec![
                send_last(first),
                stored(),
                Step::ExpectEnd,
                Step::Reconnect,
                send_last(next),
                stored(),
            ]
        }),
        rule(
            (
                "last-repetition",
                "a last batch repeats one that was not the last, with the same reply",
            ),
            |session| {
                let batch = || session.batch(1, RIVERA);
                vec![send(batch()), stored(), send_last(batch()), stored(), Step::ExpectEnd]
            },
        ),
        rule(("last-refused", "a last batch that is refused ends the connection"), |session| {
            vec![send_last(session.batch(2, RIVERA)), sequence::<1>(), Step::ExpectEnd]
        }),
        rule(("last-session", "a last question for a session ends the connection"), |session| {
            vec![send_last(session.question()), next(1), Step::ExpectEnd]
        }),
        rule(("last-invalid", "a last request that is invalid ends the connection"), |session| {
            let empty = session.batch_of(1, 0, &[]);
            vec![send_last(empty), error::<0x30>(), Step::ExpectEnd]
        }),
        rule(
            ("last-unknown-type", "a last request of an unknown type ends the connection"),
            |_| vec![send_last(message(0x3F, b"any")), error::<0x30>(), Step::ExpectEnd],
        ),
    ]
}

fn connection_ends() -> Vec<Rule> {
    let batch = Session::new(1).batch(1, RIVERA);
    let mut other_version = batch.clone();
    other_version[0] = VERSION + 1;
    let too_long = MAX_REQUEST_BYTES as u32;
    vec![
        Rule::invalid(
            ("unknown-version", "an unknown version is refused with 37 and ends the connection"),
            vec![send(other_version), error::<0x37>(), Step::ExpectEnd],
        ),
        Rule::invalid(
            ("too-long", "a request of more than 4 MiB is refused with 30 and ends the connection"),
            vec![
                send([&[VERSION, BATCH], &too_long.to_be_bytes()[..]].concat()),
                error::<0x30>(),
                Step::ExpectEnd,
            ],
        ),
        Rule::invalid(
            ("cut-batch", "a batch that ends too early gets no reply and takes no number"),
            vec![
                send(batch[..batch.len() - 1].to_vec()),
                Step::HalfClose,
                Step::ExpectNothing,
                Step::Reconnect,
                send(batch),
                stored(),
            ],
        ),
    ]
}

/// A session of a rule.
#[derive(Clone, Copy)]
struct Session {
    id: [u8; SESSION_BYTES],
    agency: u16,
}

impl Session {
    /// Returns a session that no server has seen.
    fn new(agency: u16) -> Self {
        Self { id: BatchKey::new_session(), agency }
    }

    /// Returns the question for the number of the next batch.
    fn question(self) -> Vec<u8> {
        message(SESSION, &[&self.id[..], &self.agency.to_be_bytes()].concat())
    }

    /// Returns batch `sequence` with one record.
    fn batch(self, sequence: u64, record: &[u8]) -> Vec<u8> {
        self.batch_of(sequence, 1, &[record])
    }

    /// Returns a batch that announces `count` records.
    fn batch_of(self, sequence: u64, count: u16, records: &[&[u8]]) -> Vec<u8> {
        let mut body = [
            &self.id[..],
            &self.agency.to_be_bytes(),
            &sequence.to_be_bytes(),
            &count.to_be_bytes(),
        ]
        .concat();
        for record in records {
            body.extend_from_slice(&(record.len() as u16).to_be_bytes());
            body.extend_from_slice(record);
        }
        message(BATCH, &body)
    }
}

/// The reply to a batch without winners.
const NO_WINNERS: &[u8] = &[VERSION, BATCH | REPLY, 0, 0, 0, 2, 0, 0];

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    put_message(kind, &mut out, |out| out.extend_from_slice(body));
    out
}

/// Sends a request as the last one of its connection.
fn send_last(mut request: Vec<u8>) -> Step {
    request[1] |= LAST;
    send(request)
}

fn send(bytes: Vec<u8>) -> Step {
    Step::Send(bytes)
}

fn stored() -> Step {
    Step::Expect(NO_WINNERS.to_vec())
}

/// Expects the answer that the batch with this number is the next one.
fn next(sequence: u64) -> Step {
    Step::Expect(message(SESSION | REPLY, &sequence.to_be_bytes()))
}

/// Expects an error with this code.
fn error<const CODE: u8>() -> Step {
    let shape = match CODE {
        0x30 => "an error with code 30",
        0x31 => "an error with code 31",
        0x34 => "an error with code 34",
        _ => "an error with code 37",
    };
    Step::ExpectShape(shape, is_error::<CODE, 0>)
}

/// Expects the error that the batch with this number is the next one.
fn sequence<const EXPECTED: u64>() -> Step {
    let shape = match EXPECTED {
        1 => "an error with code 20 and the number 1",
        2 => "an error with code 20 and the number 2",
        _ => "an error with code 20 and the number 3",
    };
    Step::ExpectShape(shape, is_error::<0x20, EXPECTED>)
}

fn is_error<const CODE: u8, const EXPECTED: u64>(reply: &[u8]) -> Option<bool> {
    match Failure::decode(reply) {
        Ok(failure) => failure.map(|failure| (failure.code, failure.expected) == (CODE, EXPECTED)),
        Err(_) => Some(false),
    }
}
