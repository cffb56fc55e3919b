//! Pipes within one process: sizes, types, buffers, and foreign packets.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::fs::File;
use std::io::{IoSlice, Read, Seek, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::thread;
use std::time::Duration;

use multiprocessing::{Connection, Duplex, PipeError, one_way_pipe, pipe};
use nix::errno::Errno;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, sendmsg, socketpair,
};
use proptest::prelude::*;
use serde::de::{DeserializeOwned, Error as _};
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::common::{apply, test};

/// Longest message that fits into a packet.
const LONGEST_PACKET: usize = 1 << 16;

/// Returns bytes that differ from those of other numbers and at other places.
fn pattern(number: usize, length: usize) -> Vec<u8> {
    (0..length).map(|place| (number.wrapping_mul(59) ^ place ^ (place >> 8)) as u8).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[apply(test)]
    fn messages_of_any_sizes_arrive_whole_and_in_order(
        sizes in prop::collection::vec(
            prop_oneof![0..4_usize, LONGEST_PACKET - 10..LONGEST_PACKET + 20, 0..300_000_usize], 0..12)
    ) {
        let (here, there) = pipe().unwrap();
        thread::scope(|scope| {
            let numbered = sizes.iter().enumerate();
            // Dropped when an assertion fails, so that the sender does not wait forever.
            let here = here;
            scope.spawn(move || numbered.for_each(|(at, size)| there.send_bytes(&pattern(at, *size)).unwrap()));
            for (at, size) in sizes.iter().enumerate() {
                // Without assert_eq, which would print the messages.
                prop_assert!(here.recv_bytes().unwrap() == pattern(at, *size), "message {} of {} bytes", at, size);
            }
            prop_assert!(matches!(here.recv_bytes(), Err(PipeError::Closed)));
            Ok(())
        })?;
    }

    #[apply(test)]
    fn values_of_any_type_come_out_as_they_went_in(
        numbers in any::<(u8, i16, u32, i64, u128, bool, char)>(),
        fraction in proptest::num::f64::NORMAL,
        texts in any::<(String, Option<String>, Vec<String>)>(),
        names in prop::collection::btree_map(any::<u16>(), any::<String>(), 0..9),
        bets in prop::collection::vec((any::<u64>(), any::<i8>()), 0..9000),
    ) {
        round_trips(&numbers);
        round_trips(&fraction);
        round_trips(&texts);
        let bets: Vec<_> = bets.into_iter().map(|(document, day)| Bet { document, day }).collect();
        for item in [Item::Nothing, Item::Number(numbers.3), Item::Bets { names, bets }, Item::Text(texts.0)] {
            round_trips(&item);
        }
    }

    #[apply(test)]
    fn no_packet_makes_a_receiver_panic_hang_or_lose_the_next_message(
        tag in prop_oneof![4 => Just(1), 4 => 0..4_u8, 1 => any::<u8>()],
        bytes in prop::collection::vec(any::<u8>(), 0..40),
        descriptors in prop_oneof![Just(0), 0..20_usize],
    ) {
        let (end, raw) = foreign();
        let file = File::open("/dev/null").unwrap();
        for _ in 0..6 {
            send_raw(&raw, &[&[tag], &bytes[..]].concat(), &vec![&file as &dyn AsFd; descriptors]);
        }
        let _ = (end.recv_bytes(), end.recv_fd(), end.recv::<Item>(), end.recv::<Vec<String>>());
        let _ = (end.recv::<(f64, char, bool)>(), end.recv_bytes_into(&mut [0; 9]));
        send_raw(&raw, b"\x01hello", &[]);
        prop_assert_eq!(end.recv_bytes_timeout(Duration::ZERO).unwrap().unwrap(), b"hello");
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Bet {
    document: u64,
    day: i8,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Item {
    Nothing,
    Number(i64),
    Text(String),
    Bets { names: BTreeMap<u16, String>, bets: Vec<Bet> },
}

fn round_trips<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: &T) {
    let (here, there) = pipe().unwrap();
    here.send(value).unwrap();
    assert_eq!(there.recv::<T>().unwrap(), *value);
}

#[apply(test)]
fn parts_of_a_buffer_are_sent_and_buffers_are_filled_from_their_start() {
    let (here, there) = pipe().unwrap();
    let text = b"abcdefghijklmnopqrstuvwxyz";
    for part in [&text[..], &text[5..], &text[7..15], &text[26..], &text[26..26]] {
        here.send_bytes(part).unwrap();
        assert_eq!(there.recv_bytes().unwrap(), part);
    }
    assert_eq!(text.get(27..), None, "nor does a part beyond the end exist");

    let mut room = *b"----------";
    here.send_bytes(b"hello").unwrap();
    assert_eq!(there.recv_bytes_into(&mut room[3..]).unwrap(), 5);
    assert_eq!(&room, b"---hello--");
    here.send_bytes(b"0123456789").unwrap();
    assert_eq!(there.recv_bytes_into_timeout(&mut room, Duration::ZERO).unwrap(), Some(10));
    assert_eq!(&room, b"0123456789");
    assert_eq!(there.recv_bytes_into_timeout(&mut room, Duration::ZERO).unwrap(), None);
}

#[apply(test)]
fn a_message_that_does_not_fit_comes_whole_in_the_error_and_the_next_one_follows() {
    let (here, there) = pipe().unwrap();
    for length in [11, LONGEST_PACKET, LONGEST_PACKET + 1, 1 << 20] {
        let sent = pattern(length, length);
        here.send_bytes(&sent).unwrap();
        here.send_bytes(b"next").unwrap();
        let mut room = *b"----------";
        let outcome = there.recv_bytes_into(&mut room);
        let Err(PipeError::TooShort { message, room: 10 }) = outcome else { panic!("{outcome:?}") };
        assert!(message == sent, "{length} bytes");
        assert_eq!(&room, b"----------");
        assert_eq!(there.recv_bytes_into(&mut room).unwrap(), 4);
    }
}

#[apply(test)]
fn a_value_of_another_type_is_an_error_and_the_next_message_arrives() {
    let (here, there) = pipe().unwrap();
    here.send(&u64::MAX).unwrap();
    here.send(&(7_u8, 8_u8)).unwrap();
    here.send(&"next").unwrap();
    let no_value = there.recv::<(String, bool)>();
    assert!(matches!(no_value, Err(PipeError::Decode(_))), "{no_value:?}");
    let too_long = there.recv::<u8>();
    assert!(matches!(too_long, Err(PipeError::Decode(_))), "{too_long:?}");
    assert_eq!(there.recv::<String>().unwrap(), "next");
}

/// A value that fails to serialize.
struct Unsendable;

impl Serialize for Unsendable {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(S::Error::custom("as agreed"))
    }
}

#[apply(test)]
fn nothing_is_sent_of_a_value_that_cannot_be_encoded() {
    let (here, there) = pipe().unwrap();
    for refused in [here.send(&Unsendable), here.send(&("first", Unsendable))] {
        assert!(matches!(refused, Err(PipeError::Encode(_))), "{refused:?}");
    }
    here.send("next").unwrap();
    assert_eq!(there.recv::<String>().unwrap(), "next");
}

thread_local! {
    static OTHER: RefCell<Option<Connection>> = const { RefCell::new(None) };
}

/// A value whose decoding receives a message from another pipe.
#[derive(Debug, PartialEq)]
struct Elsewhere(u8, Vec<u8>, u8);

impl<'de> Deserialize<'de> for Elsewhere {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        let received = OTHER.with_borrow(|other| other.as_ref().unwrap().recv_bytes());
        let (before, after) = Deserialize::deserialize(source)?;
        Ok(Self(before, received.map_err(D::Error::custom)?, after))
    }
}

#[apply(test)]
fn decoding_one_message_may_receive_another() {
    let ((here, there), (other_here, other_there)) = (pipe().unwrap(), pipe().unwrap());
    OTHER.set(Some(other_there));
    other_here.send_bytes(b"in between").unwrap();
    here.send(&(1_u8, 2_u8)).unwrap();
    assert_eq!(there.recv::<Elsewhere>().unwrap(), Elsewhere(1, b"in between".to_vec(), 2));
}

#[apply(test)]
fn threads_may_use_one_end_at_once() {
    const EACH: usize = 400;
    let (here, there) = pipe().unwrap();
    let length =
        |number: usize| if number.is_multiple_of(7) { LONGEST_PACKET + number } else { number };
    let mut received: Vec<_> = thread::scope(|scope| {
        for thread in 0..4 {
            let here = &here;
            let send = move |number| {
                let limit = Duration::from_secs(9);
                assert!(here.send_bytes_timeout(&pattern(number, length(number)), limit).unwrap());
            };
            scope.spawn(move || (thread * EACH..(thread + 1) * EACH).for_each(send));
        }
        let receiving = [(); 4].map(|()| {
            scope.spawn(|| {
                (0..EACH)
                    .map(|_| there.recv_bytes_timeout(Duration::from_secs(9)).unwrap().unwrap())
                    .collect::<Vec<_>>()
            })
        });
        receiving.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let mut sent: Vec<_> = (0..4 * EACH).map(|number| pattern(number, length(number))).collect();
    received.sort();
    sent.sort();
    assert!(received == sent);
}

#[apply(test)]
fn the_kernel_refuses_the_wrong_direction_to_an_end_of_another_type() {
    let (receiver, sender) = one_way_pipe().unwrap();
    sender.send("first").unwrap();
    let sender_too = Connection::<Duplex>::from(sender.as_fd().try_clone_to_owned().unwrap());
    let receiver_too = Connection::<Duplex>::from(receiver.as_fd().try_clone_to_owned().unwrap());
    for refused in [
        sender_too.recv_bytes_timeout(Duration::from_secs(9)).map(drop),
        sender_too.recv_fd_timeout(Duration::from_secs(9)).map(drop),
        receiver_too.send("never"),
        receiver_too.send_bytes(&pattern(0, 1 << 20)),
        receiver_too.send_fd(&sender),
    ] {
        assert!(matches!(refused, Err(PipeError::Closed)), "{refused:?}");
    }
    // Allowed calls work as before.
    sender_too.send("second").unwrap();
    assert!(receiver.poll(Duration::ZERO).unwrap());
    assert_eq!(receiver_too.recv::<String>().unwrap(), "first");
    assert_eq!(receiver.recv::<String>().unwrap(), "second");
    assert!(!receiver.poll(Duration::ZERO).unwrap());
}

#[apply(test)]
fn a_dropped_end_is_closed_and_what_it_sent_still_arrives() {
    let (here, there) = pipe().unwrap();
    {
        let moved_here = here;
        moved_here.send("last words").unwrap();
        there.send("never read").unwrap();
    }
    assert_eq!(there.recv::<String>().unwrap(), "last words");
    for outcome in [
        there.recv_bytes().map(drop),
        there.send(&1),
        there.send_fd(&there),
        there.recv_fd().map(drop),
    ] {
        assert!(matches!(outcome, Err(PipeError::Closed)), "{outcome:?}");
    }
    assert!(there.poll(Duration::ZERO).unwrap());
}

#[apply(test)]
fn an_end_made_of_another_kind_of_descriptor_is_an_error() {
    let file = Connection::<Duplex>::from(OwnedFd::from(File::open("/dev/null").unwrap()));
    for refused in [file.send("never"), file.recv::<String>().map(drop), file.recv_fd().map(drop)] {
        assert!(matches!(refused, Err(PipeError::System(Errno::ENOTSOCK))), "{refused:?}");
    }
    let socket =
        nix::sys::socket::socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::empty(), None);
    let unconnected = Connection::<Duplex>::from(socket.unwrap());
    assert!(matches!(unconnected.recv::<String>(), Err(PipeError::NotHandedOver)));
}

/// Returns an end, and the raw socket at its other side.
fn foreign() -> (Connection, OwnedFd) {
    let ends = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC);
    let (end, raw) = ends.unwrap();
    (Connection::from(end), raw)
}

fn send_raw(raw: &OwnedFd, bytes: &[u8], attached: &[&dyn AsFd]) {
    let descriptors: Vec<_> = attached.iter().map(|it| it.as_fd().as_raw_fd()).collect();
    let rights = [ControlMessage::ScmRights(&descriptors)];
    let rights = if attached.is_empty() { &[][..] } else { &rights[..] };
    let sent =
        sendmsg::<()>(raw.as_raw_fd(), &[IoSlice::new(bytes)], rights, MsgFlags::empty(), None);
    assert_eq!(sent, Ok(bytes.len()));
}

#[apply(test)]
fn foreign_packets_are_errors_and_their_descriptors_are_closed() {
    let (end, raw) = foreign();
    let (mut reader, writer) = std::io::pipe().unwrap();
    let number = |number: u64| [&[2], &number.to_le_bytes()[..]].concat();
    let (none, too_long) = (Vec::new(), [&[1], &pattern(1, LONGEST_PACKET + 9)[..]].concat());
    for bytes in [
        &none,
        &b"\0".to_vec(),
        &b"\xff".to_vec(),
        &b"\0abc".to_vec(),
        &b"\x02".to_vec(),
        &number(0),
        &too_long,
    ] {
        for descriptors in [0, 1, 2, 3, 12, 13, 253] {
            send_raw(&raw, bytes, &vec![&writer as &dyn AsFd; descriptors]);
            assert!(
                matches!(end.recv_bytes(), Err(PipeError::Malformed)),
                "{bytes:?} with {descriptors}"
            );
        }
    }
    for (tag, descriptors) in [(1, 1), (1, 2), (1, 99), (3, 0), (3, 2), (3, 253)] {
        send_raw(&raw, &[tag], &vec![&writer as &dyn AsFd; descriptors]);
        let refused = end.recv_fd();
        assert!(
            matches!(refused, Err(PipeError::Malformed)),
            "{tag} with {descriptors}: {refused:?}"
        );
    }
    send_raw(&raw, b"\x03and more", &[&writer]);
    assert!(matches!(end.recv_fd(), Err(PipeError::Malformed)));
    // An unexpected message comes in the error, and an unexpected descriptor is closed.
    send_raw(&raw, b"\x01hello", &[]);
    let message = end.recv_fd();
    assert!(
        matches!(&message, Err(PipeError::NoDescriptor(bytes)) if bytes == b"hello"),
        "{message:?}"
    );
    send_raw(&raw, b"\x03", &[&writer]);
    assert!(matches!(end.recv::<String>(), Err(PipeError::Descriptor)));
    // This would wait forever if one of the descriptors were still open.
    drop(writer);
    assert_eq!(reader.read(&mut [0]).unwrap(), 0);
    send_raw(&raw, b"\x01\x05hello", &[]);
    assert_eq!(end.recv::<String>().unwrap(), "hello");
    drop(raw);
    assert!(matches!(end.recv_bytes(), Err(PipeError::Closed)));
}

/// Returns a file in memory with these bytes, at its start.
fn memory(bytes: &[u8]) -> File {
    let mut file = File::from(memfd_create(c"test", MFdFlags::MFD_CLOEXEC).unwrap());
    file.write_all(bytes).unwrap();
    file.rewind().unwrap();
    file
}

#[apply(test)]
fn a_large_message_with_a_false_length_is_an_error() {
    let (end, raw) = foreign();
    let send = |start: &[u8], rest: u64, file: &dyn AsFd| {
        send_raw(&raw, &[&[2], &rest.to_le_bytes()[..], start].concat(), &[file]);
    };
    send(b"01234", 5, &memory(b"56789"));
    assert_eq!(end.recv_bytes().unwrap(), b"0123456789");
    send(b"", 5, &memory(b"56789"));
    assert_eq!(end.recv_bytes().unwrap(), b"56789");

    for lie in [0, 4, 6, 1 << 40, u64::MAX] {
        send(b"01234", lie, &memory(b"56789"));
        assert!(matches!(end.recv_bytes(), Err(PipeError::Malformed)), "{lie}");
    }
    let shortened = memory(&pattern(3, 100_000));
    send(b"", 100_000, &shortened);
    shortened.set_len(10).unwrap();
    // This file takes no memory, but to receive it would.
    let hollow = memory(b"");
    hollow.set_len(1 << 40).unwrap();
    send(b"", 1 << 40, &hollow);
    let mut read_already = memory(b"56789");
    read_already.read_exact(&mut [0; 3]).unwrap();
    send(b"", 5, &read_already);
    // Files that never end or that would block are refused too.
    let (reader, _writer) = std::io::pipe().unwrap();
    send(b"", 0, &reader);
    for endless in ["/dev/zero", "/dev", "/proc/self/stat"] {
        send(b"", 5, &File::open(endless).unwrap());
    }
    for _ in 0..7 {
        let refused = end.recv_bytes();
        assert!(
            matches!(refused, Err(PipeError::Malformed)),
            "{:?}",
            refused.map(|bytes| bytes.len())
        );
    }
    let readable = memory(b"56789");
    let unreadable =
        File::options().write(true).open(format!("/proc/self/fd/{}", readable.as_raw_fd()));
    let unreadable = unreadable.unwrap();
    send(b"", 5, &unreadable);
    assert!(matches!(end.recv_bytes(), Err(PipeError::System(Errno::EBADF))));
    assert!(end.recv_bytes_timeout(Duration::ZERO).unwrap().is_none());
}
