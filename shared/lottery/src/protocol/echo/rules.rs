//! The rules of a server of `echo`. The original servers take one read for a message, and the
//! exercise does not specify blanks.

use super::message;
use crate::protocol::{Rule, Step};

/// Returns the rules, in the order in which they are checked.
pub fn rules() -> Vec<Rule> {
    let echoed = |name, sent: &[u8], received: &[u8]| {
        Rule::new(
            name,
            vec![Step::Send(sent.to_vec()), Step::Expect(received.to_vec()), Step::ExpectNothing],
        )
    };
    let sent = message(1, 1);
    vec![
        echoed(("message", "a message is sent back, and nothing after it"), &sent, &sent),
        echoed(
            ("trailing-blanks", "blanks at the end of a message are not sent back"),
            b"two words \t \r\n",
            b"two words\n",
        )
        .broken_by_an_original(),
        echoed(
            ("leading-blanks", "blanks at the beginning of a message are sent back"),
            b"  two words\n",
            b"  two words\n",
        )
        .broken_by_an_original(),
    ]
}
