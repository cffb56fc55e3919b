//! One rule of a dialect, held as the conversation it is.

use lottery::protocol::{Rule, Step};

use super::door::{Door, no_connection};
use super::row::Broken;
use super::shown::shown;
use super::wire::{Pieces, Wire};

/// Holds the conversation, beginning on `wire`. `None`: the rule is kept.
pub(super) fn hold(rule: &Rule, pieces: Pieces, mut wire: Wire, door: &Door) -> Option<Broken> {
    let replies = rule.steps.iter().filter(|step| is_reply(step)).count();
    let mut heard = 0;
    for step in &rule.steps {
        heard += usize::from(is_reply(step));
        if let Err(mut broken) = take(step, pieces, &mut wire, door) {
            if is_reply(step) && replies > 1 {
                broken.expected += &format!(" (reply {heard} of {replies})");
            }
            return Some(broken);
        }
    }
    nothing_more(&mut wire).err()
}

fn is_reply(step: &Step) -> bool {
    !matches!(step, Step::Send(_) | Step::HalfClose | Step::Reconnect)
}

/// Takes one step.
fn take(step: &Step, pieces: Pieces, wire: &mut Wire, door: &Door) -> Result<(), Broken> {
    match step {
        Step::Send(message) => wire.say(message, pieces, door.patience),
        Step::HalfClose => wire.end_saying(),
        Step::Reconnect => {
            nothing_more(wire)?;
            *wire = door.connect().map_err(|error| Broken {
                expected: "another connection".to_owned(),
                came: no_connection(&error),
            })?;
        }
        Step::Expect(reply) => hear(wire, door, shown(reply), |heard| one_of(&[reply], heard))?,
        Step::ExpectOneOf(replies) => {
            let candidates: Vec<_> = replies.iter().collect();
            let expected: Vec<_> = replies.iter().map(|reply| shown(reply)).collect();
            hear(wire, door, expected.join(" or "), |heard| one_of(&candidates, heard))?;
        }
        Step::ExpectShape(description, holds) => {
            let judge = |heard: &[u8]| Some(holds(heard)?.then_some(heard.len()));
            hear(wire, door, (*description).to_owned(), judge)?;
        }
        // The end in any form is as good as silence.
        Step::ExpectNothing => match wire
            .hear(door.silence(), |heard| (!heard.is_empty()).then_some(()))
        {
            Ok(()) => {
                return Err(Broken { expected: "nothing".to_owned(), came: shown(&wire.rest()) });
            }
            Err(_silence) => {}
        },
    }
    Ok(())
}

/// Hears a reply. `judge` says `None` while it is not all there, then how many bytes it has, or `None` if it is wrong.
fn hear(
    wire: &mut Wire,
    door: &Door,
    expected: String,
    judge: impl FnMut(&[u8]) -> Option<Option<usize>>,
) -> Result<(), Broken> {
    match wire.hear(door.patience, judge) {
        Ok(Some(bytes)) => {
            wire.take(bytes);
            Ok(())
        }
        Ok(None) => Err(Broken { expected, came: shown(&wire.rest()) }),
        Err(came) => Err(Broken { expected, came }),
    }
}

/// Judges what was heard where one of several replies must come.
fn one_of(candidates: &[&Vec<u8>], heard: &[u8]) -> Option<Option<usize>> {
    let may_still_come = |reply: &&&Vec<u8>| reply.len() > heard.len() && reply.starts_with(heard);
    if candidates.iter().any(|reply| may_still_come(&reply)) {
        return None;
    }
    Some(candidates.iter().find(|reply| heard.starts_with(reply)).map(|reply| reply.len()))
}

/// A server must not say more than the rule has it say.
fn nothing_more(wire: &mut Wire) -> Result<(), Broken> {
    match &wire.rest()[..] {
        [] => Ok(()),
        more => Err(Broken { expected: "nothing more".to_owned(), came: shown(more) }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_is_judged_as_soon_as_it_can_be_no_other() {
        let (ok, fail) = (b"SUCCESS|1\n".to_vec(), b"FAIL|0\n".to_vec());
        let judged = |heard: &[u8]| one_of(&[&ok, &fail], heard);
        assert_eq!(judged(b""), None);
        assert_eq!(judged(b"FAIL|0"), None);
        assert_eq!(judged(b"FAIL|0\n"), Some(Some(7)));
        assert_eq!(judged(b"SUCCESS|1\nmore"), Some(Some(10)));
        assert_eq!(judged(b"FALL"), Some(None));
    }
}
