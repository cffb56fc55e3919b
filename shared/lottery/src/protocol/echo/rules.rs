//! What every server of `echo` must do.

use super::message;
use crate::protocol::{Rule, Step};

/// The rules, in the order in which they are tried.
pub fn rules() -> Vec<Rule> {
    let echoed = |name, sent: &[u8], heard: &[u8]| Rule {
        name,
        steps: vec![Step::Send(sent.to_vec()), Step::Expect(heard.to_vec()), Step::ExpectNothing],
    };
    let said = message(1, 1);
    vec![
        echoed("a message is sent back, and nothing after it", &said, &said),
        echoed(
            "blanks at the end of a message are not sent back",
            b"two words \t \r\n",
            b"two words\n",
        ),
        echoed(
            "blanks at the beginning of a message are sent back",
            b"  two words\n",
            b"  two words\n",
        ),
    ]
}
