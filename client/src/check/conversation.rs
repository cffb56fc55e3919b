//! The conversation of one rule of a dialect.

use lottery::protocol::{Rule, Step};

use super::connection::{Pieces, TestConnection};
use super::excerpt::excerpt;
use super::row::{Surprise, Symptom, Violation};
use super::target::{Target, cannot_connect};

/// Runs the conversation, starting on `connection`. Returns `None` if the server keeps the rule.
pub(super) fn run(
    rule: &Rule,
    pieces: Pieces,
    mut connection: TestConnection,
    target: &Target,
) -> Option<Violation> {
    connection.reset_when_dropped();
    let replies = rule.steps.iter().filter(|step| is_reply(step)).count();
    let mut reply = 0;
    for step in &rule.steps {
        reply += usize::from(is_reply(step));
        if let Err(mut violation) = run_step(step, pieces, &mut connection, target) {
            if is_reply(step) && replies > 1 {
                violation.expected += &format!(" (reply {reply} of {replies})");
            }
            return Some(violation);
        }
    }
    expect_nothing_more(&mut connection).err()
}

fn is_reply(step: &Step) -> bool {
    !matches!(step, Step::Send(_) | Step::HalfClose | Step::Reconnect)
}

fn run_step(
    step: &Step,
    pieces: Pieces,
    connection: &mut TestConnection,
    target: &Target,
) -> Result<(), Violation> {
    match step {
        Step::Send(message) => connection.send(message, pieces, target.timeout),
        Step::HalfClose => connection.shut_down_sending(),
        Step::Reconnect => {
            expect_nothing_more(connection)?;
            *connection = target.connect().map_err(|error| Violation {
                expected: "another connection".to_owned(),
                received: Surprise::new(cannot_connect(&error), Symptom::Unreachable),
            })?;
            connection.reset_when_dropped();
        }
        Step::Expect(reply) => {
            let judge = |received: &[u8]| match_one_of(&[reply], received);
            expect_reply(connection, target, excerpt(reply), &[reply], judge)?;
        }
        Step::ExpectOneOf(replies) => {
            let candidates: Vec<_> = replies.iter().collect();
            let expected: Vec<_> = replies.iter().map(|reply| excerpt(reply)).collect();
            let judge = |received: &[u8]| match_one_of(&candidates, received);
            expect_reply(connection, target, expected.join(" or "), &candidates, judge)?;
        }
        Step::ExpectShape(description, has_shape) => {
            let judge = |received: &[u8]| Some(has_shape(received)?.then_some(received.len()));
            expect_reply(connection, target, (*description).to_owned(), &[], judge)?;
        }
        Step::ExpectNothing => {
            let judge = |received: &[u8]| (!received.is_empty()).then_some(());
            // An error means silence or the end of the connection, and both are accepted.
            if connection.receive(target.silence(), judge).is_ok() {
                let at = connection.position();
                let text = excerpt(&connection.take_trailing());
                let received = connection.surprise(text, Symptom::Unwanted, at);
                return Err(Violation { expected: "nothing".to_owned(), received });
            }
        }
        Step::ExpectEnd => {
            let judge = |received: &[u8]| (!received.is_empty()).then(|| excerpt(received));
            let at = connection.position();
            let received = match connection.receive(target.timeout, judge) {
                Err(_) if connection.has_ended_empty() => return Ok(()),
                Ok(text) => connection.surprise(text, Symptom::Trailing, at),
                Err(received) => Surprise { symptom: Symptom::StillOpen, ..received },
            };
            return Err(Violation { expected: "the end of the connection".to_owned(), received });
        }
    }
    Ok(())
}

/// Receives a reply. `judge` returns `None` while the reply is incomplete, then its length, or
/// `Some(None)` if it is wrong. `candidates` are the possible replies, if they are known.
fn expect_reply(
    connection: &mut TestConnection,
    target: &Target,
    expected: String,
    candidates: &[&Vec<u8>],
    judge: impl FnMut(&[u8]) -> Option<Option<usize>>,
) -> Result<(), Violation> {
    match connection.receive(target.timeout, judge) {
        Ok(Some(bytes)) => {
            connection.consume(bytes);
            Ok(())
        }
        Ok(None) => {
            let at = connection.position();
            let reply = connection.take_trailing();
            let right = candidates.iter().map(|candidate| common_start(candidate, &reply)).max();
            let wrong_at = at + right.unwrap_or(0);
            let received = connection.surprise(excerpt(&reply), Symptom::WrongReply, wrong_at);
            Err(Violation { expected, received })
        }
        Err(received) => Err(Violation { expected, received }),
    }
}

/// Judges the received bytes where one of several replies is expected.
fn match_one_of(candidates: &[&Vec<u8>], received: &[u8]) -> Option<Option<usize>> {
    let is_incomplete =
        |reply: &&&Vec<u8>| reply.len() > received.len() && reply.starts_with(received);
    if candidates.iter().any(|reply| is_incomplete(&reply)) {
        return None;
    }
    Some(candidates.iter().find(|reply| received.starts_with(reply)).map(|reply| reply.len()))
}

/// Returns the number of bytes with which both begin.
pub(super) fn common_start(one: &[u8], other: &[u8]) -> usize {
    one.iter().zip(other).take_while(|(one, other)| one == other).count()
}

/// Fails if the server sends more bytes than the rule expects.
fn expect_nothing_more(connection: &mut TestConnection) -> Result<(), Violation> {
    let at = connection.position();
    match &connection.take_trailing()[..] {
        [] => Ok(()),
        more => {
            let received = connection.surprise(excerpt(more), Symptom::Trailing, at);
            Err(Violation { expected: "nothing more".to_owned(), received })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_is_judged_as_soon_as_no_other_candidate_is_possible() {
        let (ok, fail) = (b"SUCCESS|1\n".to_vec(), b"FAIL|0\n".to_vec());
        let judged = |received: &[u8]| match_one_of(&[&ok, &fail], received);
        assert_eq!(judged(b""), None);
        assert_eq!(judged(b"FAIL|0"), None);
        assert_eq!(judged(b"FAIL|0\n"), Some(Some(7)));
        assert_eq!(judged(b"SUCCESS|1\nmore"), Some(Some(10)));
        assert_eq!(judged(b"FALL"), Some(None));
    }
}
