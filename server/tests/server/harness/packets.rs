//! Bets and the packets that carry them.

use lottery::protocol::{AgencyCodec, AgencyOptions, Dialect, Push};
use lottery::{BatchKey, Bet, Birthdate};

/// Returns a bet with this document, which wins or loses by its number.
pub fn bet(document: &str, wins: bool) -> Bet<'_> {
    let birthdate = Birthdate::new(1999, 3, 17).unwrap();
    let number = if wins { 7574 } else { 1033 };
    Bet {
        agency: 0,
        first_name: "Santiago Lionel",
        last_name: "Lorca",
        document: document.into(),
        birthdate,
        number: Some(number),
    }
}

/// Returns a `typed` batch of `bets` bets of which the first `winners` win. Documents start with
/// `mark`, so that a test recognises its rows.
pub fn packet_of(mark: &str, bets: usize, winners: usize) -> Vec<u8> {
    let documents: Vec<_> = (0..bets).map(|index| format!("{mark}-{index}")).collect();
    let bets: Vec<_> = documents
        .iter()
        .enumerate()
        .map(|(index, document)| bet(document, index < winners))
        .collect();
    packet_of_bets(&bets)
}

/// Returns a `typed` batch of these bets.
pub fn packet_of_bets(bets: &[Bet<'_>]) -> Vec<u8> {
    packet_in(&mut *codec("typed", 1), bets)
}

/// Returns the agency's side of a dialect that carries bets, with a session of its own.
pub fn codec(dialect: &str, agency: u16) -> Box<dyn AgencyCodec> {
    codec_of_session(dialect, agency, BatchKey::new_session())
}

/// Returns the agency's side of a dialect that carries bets, with this session.
pub fn codec_of_session(dialect: &str, agency: u16, session: [u8; 16]) -> Box<dyn AgencyCodec> {
    let options = AgencyOptions { session, ..AgencyOptions::new(agency, u16::MAX) };
    (Dialect::named(dialect).unwrap().agency.unwrap())(&options)
}

/// Returns a batch of these bets in the dialect of a codec, and leaves the codec empty.
pub fn packet_in(codec: &mut dyn AgencyCodec, bets: &[Bet<'_>]) -> Vec<u8> {
    for bet in bets {
        assert_eq!(codec.push(bet), Ok(Push::Added), "the batch does not fit a packet");
    }
    let packet = codec.packet().to_vec();
    codec.clear();
    packet
}

/// Returns a `typed` batch of these records, valid or not.
pub fn packet_of_records<R: AsRef<[u8]>>(records: &[R]) -> Vec<u8> {
    let mut packet = vec![0];
    packet.extend(u16::try_from(records.len()).unwrap().to_be_bytes());
    for record in records.iter().map(AsRef::as_ref) {
        packet.extend(u16::try_from(record.len()).unwrap().to_be_bytes());
        packet.extend(record);
    }
    packet
}

/// Returns a `typed` batch far larger than the 8 kB of a client's packet: short bets with distinct
/// documents, of which the first `winners` win.
pub fn large_packet(mark: &str, bets: usize, winners: usize) -> Vec<u8> {
    let number = |bet| if bet < winners { 7574 } else { 1033 };
    let records: Vec<_> =
        (0..bets).map(|bet| format!(";;{mark}-{bet};1999-03-17;{}", number(bet))).collect();
    packet_of_records(&records)
}
