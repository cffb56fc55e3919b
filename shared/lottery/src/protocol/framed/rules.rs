//! The rules that every server of `framed` must keep.

use super::agency::framed;
use crate::protocol::{Rule, Step};

/// Bet T of the test vectors. It does not win.
const RIVERA: &str = "1|Tiago Nicolás|Rivera|34407251|2001-08-29|1033\n";

const FAIL: &[u8] = b"FAIL|0\n";

/// Returns the rules, in the order in which they are checked.
pub fn rules() -> Vec<Rule> {
    [stored_batches(), refused_messages(), connection_ends()].into_iter().flatten().collect()
}

fn stored_batches() -> Vec<Rule> {
    let stored = |name, text: &str, bets| {
        Rule::new(name, vec![send(text), expect(&format!("SUCCESS|{bets}"))])
    };
    vec![
        stored(
            ("batch", "a batch is answered with the number of its bets"),
            &format!("1\n{RIVERA}"),
            1,
        ),
        stored(
            ("no-last-line-break", "the last line break is optional"),
            format!("1\n{RIVERA}").trim_end(),
            1,
        ),
        stored(
            ("blank-line", "a blank line is counted but is not a bet"),
            &format!("3\n{RIVERA}\n{RIVERA}"),
            2,
        ),
        stored(("empty-batch", "a batch of 0 bets is answered"), "0\n", 0),
        Rule::new(
            // The original's description has no such line, but its programs require it.
            ("no-count", "a batch without the line that counts its bets is stored or refused"),
            vec![send(RIVERA), Step::ExpectOneOf(vec![b"SUCCESS|1\n".to_vec(), FAIL.to_vec()])],
        ),
    ]
}

fn refused_messages() -> Vec<Rule> {
    let refused =
        |name, text: &str| Rule::invalid(name, vec![send(text), Step::Expect(FAIL.to_vec())]);
    vec![
        refused(("empty-message", "an empty message is refused"), ""),
        refused(
            ("count-number", "a count that is not a number is refused"),
            &format!("x\n{RIVERA}"),
        ),
        refused(
            ("too-many-bets", "more bets than announced are refused"),
            &format!("1\n{RIVERA}{RIVERA}"),
        ),
        refused(("too-few-bets", "fewer bets than announced are refused"), &format!("2\n{RIVERA}")),
        refused(("five-fields", "a bet of 5 fields is refused"), "1\n1|A|B|1|1999-03-17"),
        refused(("seven-fields", "a bet of 7 fields is refused"), "1\n1|A|B|1|1999-03-17|1|1"),
        refused(("impossible-date", "an impossible date is refused"), "1\n1|A|B|1|1999-13-17|1"),
        refused(
            ("agency-number", "an agency that is not a number is refused"),
            "1\nx|A|B|1|1999-03-17|1",
        ),
        refused(
            ("bet-number", "a bet number that is not an integer is refused"),
            "1\n1|A|B|1|1999-03-17|x",
        ),
        refused(
            ("all-or-nothing", "a batch with one invalid bet is refused as a whole"),
            &format!("2\n{RIVERA}1|A|B|1|1999-13-17|1"),
        ),
        refused(("unknown-word", "an unknown word is refused"), "HELLO|1"),
        refused(("finished-no-agency", "FINISHED without an agency is refused"), "FINISHED"),
    ]
}

fn connection_ends() -> Vec<Rule> {
    vec![
        Rule::invalid(
            ("not-utf8", "a message that is not UTF-8 is refused and ends the connection"),
            vec![
                Step::Send(framed(b"1\n1|\xFF|B|1|1999-03-17|1\n")),
                Step::Expect(FAIL.to_vec()),
                Step::ExpectNothing,
            ],
        ),
        Rule::invalid(
            (
                "finished-fields",
                "a FINISHED with too many fields gets an ERROR, and only a query may follow",
            ),
            vec![
                send("FINISHED|2|x"),
                expect("ERROR|Invalid finished message format: FINISHED|2|x"),
                send(&format!("1\n{RIVERA}")),
                Step::ExpectNothing,
            ],
        ),
        Rule::invalid(
            ("cut-message", "a message that ends too early gets no reply"),
            vec![
                Step::Send(framed(RIVERA.as_bytes())[..20].to_vec()),
                Step::HalfClose,
                Step::ExpectNothing,
            ],
        ),
    ]
}

fn send(text: &str) -> Step {
    Step::Send(framed(text.as_bytes()))
}

/// Expects one line.
fn expect(line: &str) -> Step {
    Step::Expect(format!("{line}\n").into_bytes())
}
