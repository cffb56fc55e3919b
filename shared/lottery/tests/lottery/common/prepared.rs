//! Compares the fast path of a batch with the general path.

use lottery::protocol::{CentralCodec, Decoded, Dialect, Then};
use lottery::{Bet, Prepared, Reply, Request, is_winner, write_rows};

/// What was in the buffer of rows before.
const BEFORE: &[u8] = b"rows of another batch\r\n";

/// Prepares and decodes the message at the start of `wire` with the same codec, and compares.
/// Returns true if the fast path took the message.
pub(crate) fn check_message(codec: &mut dyn CentralCodec, wire: &[u8]) -> bool {
    let mut rows = BEFORE.to_vec();
    let begins = codec.begins_batch(wire);
    let prepared = codec.prepare(wire, &mut rows);
    let reply = prepared.as_ref().map(|prepared| {
        let winners: Vec<_> = prepared.winners.iter().map(|(_, bet)| *bet).collect();
        reply(codec, prepared.bets, &winners)
    });
    let decoded = codec.decode(wire);
    let Some(prepared) = prepared else {
        assert_eq!(rows, BEFORE, "rows of a message that was not prepared: {wire:02x?}");
        return false;
    };
    assert!(begins, "{wire:02x?}");
    let Ok(Decoded::Complete { request, consumed }) = decoded else {
        panic!("prepared {prepared:?}, decoded {decoded:?}: {wire:02x?}")
    };
    let (key, bets) = match request {
        Request::Store(bets) => (None, bets),
        Request::StoreOnce { key, bets } => (Some(key), bets),
        other => panic!("prepared {prepared:?}, decoded {other:?}: {wire:02x?}"),
    };
    let mut expected = BEFORE.to_vec();
    write_rows(&bets, &mut expected).unwrap();
    let lossy = |rows: &[u8]| String::from_utf8_lossy(rows).into_owned();
    assert_eq!(lossy(&rows), lossy(&expected), "{wire:02x?}");
    let winners: Vec<_> = bets.iter().filter(|bet| is_winner(bet)).copied().collect();
    assert_eq!(reply, Some(self::reply(codec, bets.len(), &winners)));
    let winners = (0..).zip(&bets).filter(|(_, bet)| is_winner(bet));
    let winners = winners.map(|(place, bet)| (place, *bet)).collect();
    let agency = bets[0].agency;
    assert!(bets.iter().all(|bet| bet.agency == agency), "{wire:02x?}");
    let is_plain = |bet: &Bet<'_>| {
        bet.document
            .as_str()
            .parse::<u32>()
            .is_ok_and(|number| number.to_string() == bet.document.as_str())
    };
    let has_plain_documents = agency != 0 && bets.iter().all(is_plain);
    let bets = bets.len();
    assert_eq!(prepared, Prepared { bets, agency, winners, key, has_plain_documents, consumed });
    true
}

/// Returns the bytes of the reply to a stored batch, and what follows it.
fn reply(codec: &mut dyn CentralCodec, bets: usize, winners: &[Bet<'_>]) -> (Vec<u8>, Then) {
    let mut reply = Vec::new();
    let stored = Reply::Stored { bets, winners: winners.to_vec() };
    let then = codec.encode(&stored, &mut reply).unwrap();
    (reply, then)
}

/// Checks the first batch of a connection that carries `wire`. Returns true if the fast path took
/// it.
pub(crate) fn check_connection(dialect: &Dialect, wire: &[u8]) -> bool {
    let mut codec = (dialect.central)();
    let mut rest = wire;
    while let Ok(Decoded::Skip { consumed }) = codec.decode(rest) {
        rest = &rest[consumed..];
    }
    // The decoding above may have scanned a part of the message.
    check_message(&mut *codec, rest);
    let mut codec = (dialect.central)();
    let greeting = wire.len() - rest.len();
    if greeting > 0 {
        let _ = codec.decode(&wire[..greeting]);
    }
    check_message(&mut *codec, rest)
}
