//! What every server of `framed` must do.

use super::framed;
use crate::protocol::{Rule, Step};

/// T of the vectors; it does not win.
const RIVERA: &str = "1|Tiago Nicolás|Rivera|34407251|2001-08-29|1033\n";

/// The rules, in the order in which they are tried.
pub fn rules() -> Vec<Rule> {
    let fail = || b"FAIL|0\n".to_vec();
    let send = |text: &str| Step::Send(framed(text.as_bytes()));
    let expect = |line: &str| Step::Expect(format!("{line}\n").into_bytes());
    let stored = |name, text: &str, bets| Rule {
        name,
        steps: vec![send(text), expect(&format!("SUCCESS|{bets}"))],
    };
    let refused = |name, text: &str| Rule { name, steps: vec![send(text), Step::Expect(fail())] };
    vec![
        stored("a batch is answered with the number of its bets", &format!("1\n{RIVERA}"), 1),
        stored("the last line break is optional", format!("1\n{RIVERA}").trim_end(), 1),
        stored("a blank line counts and is no bet", &format!("3\n{RIVERA}\n{RIVERA}"), 2),
        stored("a batch of 0 bets is answered", "0\n", 0),
        Rule {
            // The description has no such line, the original programs want it.
            name: "a batch without the line that counts its bets is stored or refused",
            steps: vec![send(RIVERA), Step::ExpectOneOf(vec![b"SUCCESS|1\n".to_vec(), fail()])],
        },
        refused("an empty message is refused", ""),
        refused("a count that is no number is refused", &format!("x\n{RIVERA}")),
        refused("more bets than announced are refused", &format!("1\n{RIVERA}{RIVERA}")),
        refused("fewer bets than announced are refused", &format!("2\n{RIVERA}")),
        refused("a bet of 5 fields is refused", "1\n1|A|B|1|1999-03-17"),
        refused("a bet of 7 fields is refused", "1\n1|A|B|1|1999-03-17|1|1"),
        refused("an impossible date is refused", "1\n1|A|B|1|1999-13-17|1"),
        refused("an agency that is no number is refused", "1\nx|A|B|1|1999-03-17|1"),
        refused("a number that is none is refused", "1\n1|A|B|1|1999-03-17|x"),
        refused("one bad bet refuses the whole batch", &format!("2\n{RIVERA}1|A|B|1|1999-13-17|1")),
        refused("an unknown word is refused", "HELLO|1"),
        refused("FINISHED without an agency is refused", "FINISHED"),
        Rule {
            name: "a message that is not UTF-8 is refused and the last",
            steps: vec![
                Step::Send(framed(b"1\n1|\xFF|B|1|1999-03-17|1\n")),
                Step::Expect(fail()),
                Step::ExpectNothing,
            ],
        },
        Rule {
            name: "a FINISHED with too much is answered with an error, and only a query may follow",
            steps: vec![
                send("FINISHED|2|x"),
                expect("ERROR|Invalid finished message format: FINISHED|2|x"),
                send(&format!("1\n{RIVERA}")),
                Step::ExpectNothing,
            ],
        },
        Rule {
            name: "a message that ends too early gets no reply",
            steps: vec![
                Step::Send(framed(RIVERA.as_bytes())[..20].to_vec()),
                Step::HalfClose,
                Step::ExpectNothing,
            ],
        },
    ]
}
