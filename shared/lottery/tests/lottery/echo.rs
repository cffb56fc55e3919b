//! Tests of the `echo` dialect: the assignment's example, invalid messages and arbitrary splits.

use crate::common::conversation::{conversation, decode_split, splits};
use crate::common::{encoded, refused, vector, whole};
use lottery::protocol::echo::{self, MAX_MESSAGE_BYTES};
use lottery::protocol::{CentralCodec, Decoded, ProtocolError, Then, Unencodable};
use lottery::{Reply, Request};
use proptest::prelude::*;

const ECHO: &str = "echo";

fn central() -> Box<dyn CentralCodec> {
    crate::common::central(ECHO)
}

#[test]
fn the_exchange_of_the_assignment_is_encoded_and_decoded_to_its_bytes() {
    let (sent, reply) = (vector(ECHO, "request"), vector(ECHO, "reply"));
    assert_eq!(echo::message(1, 1), sent);
    let mut central = central();
    let Request::Echo(text) = whole(&mut *central, &sent) else { panic!("not an echo") };
    assert_eq!(text, "[CLIENT 1] Message N°1".as_bytes());
    assert_eq!(encoded(&mut *central, &Reply::Echo(text)), (reply.clone(), Then::Close));
    assert_eq!(echo::decode_reply(&reply), Some(text));
}

#[test]
fn a_message_contains_the_numbers_of_the_agency_and_of_the_message() {
    assert_eq!(echo::message(65_535, 120), "[CLIENT 65535] Message N°120\n".as_bytes());
}

#[test]
fn only_trailing_blanks_are_removed() {
    let cases: [(&[u8], &[u8]); 6] = [
        (b"one  two \t\x0b\x0c\r\n", b"one  two"),
        (b"  one\n", b"  one"),
        (b"\n", b""),
        (b" \r\n", b""),
        (b"not UTF-8 \xff\xfe\n", b"not UTF-8 \xff\xfe"),
        ("wide blank\u{a0}\n".as_bytes(), "wide blank\u{a0}".as_bytes()),
    ];
    for (sent, text) in cases {
        assert_eq!(whole(&mut *central(), sent), Request::Echo(text));
    }
}

#[test]
fn a_message_may_end_with_the_stream_instead_of_a_line_break() {
    let mut central = central();
    assert_eq!(central.decode(b"hello "), Ok(Decoded::Incomplete));
    let complete = Decoded::Complete { request: Request::Echo(b"hello"), consumed: 6 };
    assert_eq!(central.decode_last(b"hello "), Ok(complete));
}

#[test]
fn an_empty_stream_is_not_a_message() {
    assert_eq!(central().decode_last(b""), Ok(Decoded::Incomplete));
}

#[test]
fn a_message_ends_at_its_first_line_break() {
    let complete = Decoded::Complete { request: Request::Echo(b"one"), consumed: 4 };
    assert_eq!(central().decode_last(b"one\ntwo"), Ok(complete));
}

#[test]
fn a_message_of_8192_bytes_is_accepted_and_a_longer_one_gets_no_reply() {
    let mut longest = vec![b'x'; MAX_MESSAGE_BYTES - 1];
    assert_eq!(central().decode(&longest), Ok(Decoded::Incomplete));
    longest.push(b'\n');
    assert_eq!(longest.len(), 8192);
    assert_eq!(whole(&mut *central(), &longest), Request::Echo(&longest[..8191]));

    for too_long in [vec![b'x'; 8192], [&[b'x'; 8192][..], b"\n"].concat()] {
        let (refusal, reply, then) = refused(&mut *central(), &too_long);
        assert_eq!(refusal.error, ProtocolError::TooLarge { max: 8192 });
        assert_eq!((refusal.consumed, reply, then), (None, vec![], Then::Close));
    }
}

#[test]
fn no_other_reply_is_encoded() {
    let mut out = Vec::new();
    assert_eq!(central().encode(&Reply::Finished, &mut out), Err(Unencodable::Reply));
    assert_eq!(out, b"");
}

#[test]
fn a_reply_is_incomplete_before_its_line_break() {
    assert_eq!([&b""[..], b"hel"].map(echo::decode_reply), [None, None]);
    assert_eq!(echo::decode_reply(b"\n"), Some(&b""[..]));
}

proptest! {
    #[test]
    fn every_line_is_echoed_with_any_splits(
        text in "[^\\s]{0,60}|\\PC{0,60}x",
        splits in splits(),
    ) {
        let wire = [text.as_bytes(), b"\n"].concat();
        let request = Request::Echo(text.as_bytes());
        let complete = Decoded::Complete { request, consumed: wire.len() };
        prop_assert_eq!(decode_split(&mut *central(), &wire, &splits), Ok(complete));
    }

    #[test]
    fn no_bytes_make_the_codec_panic_and_splits_make_no_difference(
        wire in prop::collection::vec(prop_oneof![9 => any::<u8>(), 1 => Just(b'\n')], 0..200),
        splits in splits(),
    ) {
        prop_assert_eq!(conversation(ECHO, &wire, &splits), conversation(ECHO, &wire, &[]));
        let _ = echo::decode_reply(&wire);
    }
}
