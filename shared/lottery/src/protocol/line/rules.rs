//! The rules of a server of `line`. In one generation of the original, most invalid lines end the
//! server. In the other one, an early close leaves a process that spins forever.

use crate::protocol::{Rule, Step};

const END: &str = "[AGENCY 1] BetBatchEnd\n";

/// Bet T of the test vectors, without its line break. It does not win.
const RIVERA: &str = "[AGENCY 1] Bet 1033,Tiago Nicolás,Rivera,34407251,2001-08-29";

/// Returns the rules, in the order in which they are checked.
pub fn rules() -> Vec<Rule> {
    let send = |text: String| Step::Send(text.into_bytes());
    let echoed = |name, bets: String| {
        Rule::new(name, vec![send(bets + END), Step::Expect(END.as_bytes().to_vec())])
    };
    let refused = |name, line: &str| {
        Rule::invalid(name, vec![send(format!("{line}\n{END}")), Step::ExpectNothing])
    };
    let fatal = |name, line: &str| refused(name, line).fatal_to_an_original();
    vec![
        echoed(("batch", "a batch is answered with the line that ends it"), format!("{RIVERA}\n")),
        echoed(
            ("empty-batch", "an empty batch is answered with the line that ends it"),
            String::new(),
        ),
        echoed(
            ("carriage-return", "a carriage return before the line break is ignored"),
            format!("{RIVERA}\r\n"),
        ),
        echoed(
            ("more-fields", "fields after the birthdate are ignored"),
            format!("{RIVERA},more,fields\n"),
        ),
        echoed(
            ("other-keyword", "a line with any other keyword is a bet"),
            format!("{}\n", RIVERA.replace("Bet", "Whatever")),
        ),
        refused(("four-fields", "a bet of 4 fields gets no reply"), "[AGENCY 1] Bet 1,A,B,1"),
        fatal(
            ("impossible-date", "an impossible date gets no reply"),
            "[AGENCY 1] Bet 1,A,B,1,1999-13-17",
        ),
        fatal(
            ("bet-number", "a number that is not an integer gets no reply"),
            "[AGENCY 1] Bet x,A,B,1,1999-03-17",
        ),
        fatal(
            ("comma-in-name", "a comma in a name shifts the fields and gets no reply"),
            "[AGENCY 1] Bet 1,A,A,B,1,1999-03-17",
        ),
        fatal(("two-words", "a line of two words gets no reply"), "[AGENCY 1]"),
        fatal(("blank-line", "a blank line gets no reply"), ""),
        Rule::invalid(
            ("cut-batch", "a batch that ends too early gets no reply"),
            vec![send(format!("{RIVERA}\n")), Step::HalfClose, Step::ExpectNothing],
        )
        .fatal_to_an_original(),
    ]
}
