//! Random messages of a server.

use proptest::collection::vec;
use proptest::prelude::*;

use crate::harness::fake;
use crate::{corpus, fuzz};

/// A message with a valid length: a valid one of a reply, or a known tag with any body.
fn any_message() -> impl Strategy<Value = Vec<u8>> {
    let tags = prop::sample::select(&b"123ACDEGHIKNRSTZcdnst?"[..]);
    // The number of columns of a description has few values, so that rows match it.
    let small = vec(prop_oneof![4 => Just(0u8), 1 => 0u8..8, 1 => any::<u8>()], 0..24);
    let oids = prop::sample::select(vec![16u8, 17, 20, 21, 23, 25]);
    let array = prop::sample::select(vec![1001u16, 1007, 1009, 1016]);
    prop_oneof![
        (tags, small.clone()).prop_map(|(tag, body)| fake::message(tag, &body)),
        Just(fake::ready()),
        Just(fake::message(b'1', &[])),
        Just(fake::message(b't', &[0, 0])),
        Just(fake::message(b'2', &[])),
        Just(fake::message(b'n', &[])),
        Just(fake::message(b'C', b"SELECT 1\0")),
        Just(fake::error(b'E', "ERROR", "22012")),
        oids.prop_map(|oid| fake::column(u16::from(oid))),
        array.prop_map(fake::column),
        small.prop_map(|value| {
            let length = u32::try_from(value.len()).unwrap().to_be_bytes();
            fake::message(b'D', &[&[0, 1][..], &length, &value].concat())
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_sequence_of_messages_makes_the_connection_panic(
        stage in 0u8..3,
        in_order in any::<bool>(),
        messages in vec(any_message(), 0..24),
    ) {
        let mut input = vec![stage];
        // Otherwise few sequences come as far as a row.
        if in_order && stage == 1 {
            input.extend([fake::message(b'1', &[]), fake::message(b't', &[0, 0])].concat());
        }
        input.extend(messages.concat());
        fuzz::check(&input);
    }
}

#[test]
fn no_change_of_a_conversation_makes_the_connection_panic() {
    corpus::check_corpus("postgres_reply", 1000, fuzz::check);
}
