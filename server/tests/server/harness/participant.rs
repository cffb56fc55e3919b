//! An agency that takes part in a draw, step by step, in any dialect that has one.

use std::io;
use std::net::Ipv4Addr;

use lottery::Bet;
use lottery::protocol::{AgencyCodec, Answer, ConnectionUse, Dialect, Push, Receipt};

use super::agency_connection::AgencyConnection;
use super::packets::{codec, packet_in};

/// An agency and its connection. It uses connections as the original programs of its dialect do:
/// one for everything, or one per request.
///
/// Methods that begin with `try_` report a broken connection, the others panic.
#[derive(Debug)]
pub struct Participant {
    dialect: &'static Dialect,
    codec: Box<dyn AgencyCodec>,
    /// The address that it connects from.
    source: Ipv4Addr,
    port: u16,
    connection: AgencyConnection,
    /// Number of the next batch in its session, where batches have keys.
    sequence: u64,
    /// True once something was sent on the connection.
    used: bool,
}

impl Participant {
    /// Connects agency `number` to the port of a dialect that has a draw.
    pub fn connect(port: u16, dialect: &str, number: u16) -> Self {
        Self::try_connect(port, dialect, number).unwrap()
    }

    /// Connects as [`connect`](Self::connect) does, to a central that may have exited.
    pub fn try_connect(port: u16, dialect: &str, number: u16) -> io::Result<Self> {
        Self::try_connect_from(Ipv4Addr::LOCALHOST, port, dialect, number)
    }

    /// Connects as [`connect`](Self::connect) does, from another address of 127.0.0.0/8.
    pub fn connect_from(source: Ipv4Addr, port: u16, dialect: &str, number: u16) -> Self {
        Self::try_connect_from(source, port, dialect, number).unwrap()
    }

    fn try_connect_from(
        source: Ipv4Addr,
        port: u16,
        dialect: &str,
        number: u16,
    ) -> io::Result<Self> {
        let mut codec = codec(dialect, number);
        let dialect = Dialect::named(dialect).unwrap();
        let connection = Self::open(source, port, &mut *codec)?;
        Ok(Self { dialect, codec, source, port, connection, sequence: 1, used: false })
    }

    fn open(
        source: Ipv4Addr,
        port: u16,
        codec: &mut dyn AgencyCodec,
    ) -> io::Result<AgencyConnection> {
        let mut connection = match source {
            Ipv4Addr::LOCALHOST => AgencyConnection::try_open(port)?,
            source => AgencyConnection::try_open_from(source, port)?,
        };
        connection.write(&codec.greeting())?;
        Ok(connection)
    }

    /// Replaces the connection with a new one.
    pub fn reconnect(&mut self) {
        self.try_reconnect().unwrap();
    }

    /// Replaces the connection as [`reconnect`](Self::reconnect) does, and keeps the session.
    pub fn try_reconnect(&mut self) -> io::Result<()> {
        self.connection = Self::open(self.source, self.port, &mut *self.codec)?;
        self.used = false;
        Ok(())
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.used && self.dialect.connections[0] == ConnectionUse::PerRequest {
            self.try_reconnect()?;
        }
        self.used = true;
        self.connection.write(bytes)
    }

    /// Sends a batch and reads the reply.
    pub fn store(&mut self, bets: &[Bet<'_>]) -> Receipt {
        self.try_store(bets).unwrap()
    }

    /// Sends a batch as [`store`](Self::store) does. After an error it is unknown whether the batch
    /// is stored. Where batches have keys, the next one has the same number, so that the same bets
    /// are a repetition. An error reply is a refusal.
    pub fn try_store(&mut self, bets: &[Bet<'_>]) -> io::Result<Receipt> {
        self.codec.set_sequence(self.sequence);
        let packet = packet_in(&mut *self.codec, bets);
        // A codec may compare the receipt with the batch, so the batch goes back into the codec.
        for bet in bets {
            self.codec.push(bet).unwrap();
        }
        let sent = self.send(&packet);
        let codec = &self.codec;
        let receipt = sent.and_then(|()| {
            self.connection.try_read_reply(|reply| match codec.denied(reply) {
                Some(_) => Ok(Some(Receipt::Refused)),
                None => codec.receipt(reply),
            })
        });
        self.codec.clear();
        self.sequence += u64::from(matches!(receipt, Ok(Receipt::Stored { .. })));
        receipt
    }

    /// Sends all these bets in as few packets as possible, each after the acknowledgement of the
    /// one before. Returns the number of packets.
    pub fn store_all(&mut self, bets: &[Bet<'_>]) -> usize {
        let (mut rest, mut packets) = (bets, 0);
        while !rest.is_empty() {
            let fitting =
                rest.iter().take_while(|bet| self.codec.push(bet) == Ok(Push::Added)).count();
            self.codec.clear();
            let (batch, others) = rest.split_at(fitting);
            let stored = matches!(self.store(batch), Receipt::Stored { .. });
            assert!(stored, "refused: {:?}", batch.first());
            (rest, packets) = (others, packets + 1);
        }
        packets
    }

    /// Notifies the central that all bets are sent, and asks for the winners without waiting for
    /// them.
    pub fn finish(&mut self) {
        self.try_finish().unwrap();
    }

    /// Notifies and asks as [`finish`](Self::finish) does.
    pub fn try_finish(&mut self) -> io::Result<()> {
        self.try_notify()?;
        self.try_ask()
    }

    /// Notifies the central that all bets are sent, and reads the acknowledgement. Does nothing in
    /// a dialect without such a message.
    pub fn try_notify(&mut self) -> io::Result<()> {
        let Some(notification) = self.codec.notification() else { return Ok(()) };
        self.send(&notification)?;
        let codec = &self.codec;
        self.connection.try_read_reply(|reply| codec.acknowledgement(reply))
    }

    /// Asks for the winners without waiting for them.
    pub fn ask(&mut self) {
        self.try_ask().unwrap();
    }

    fn try_ask(&mut self) -> io::Result<()> {
        self.send(&self.codec.question())
    }

    /// Reads the answer and sends the final message of the dialect. Returns the number of winners
    /// and the bytes of the reply.
    pub fn winners(&mut self) -> (u64, Vec<u8>) {
        self.try_winners().unwrap()
    }

    /// Reads the answer as [`winners`](Self::winners) does. Panics if the answer is not a list of
    /// winners.
    pub fn try_winners(&mut self) -> io::Result<(u64, Vec<u8>)> {
        let codec = &self.codec;
        let mut bytes = Vec::new();
        let answer = self.connection.try_read_reply(|reply| {
            bytes = reply.to_vec();
            codec.answer(reply)
        })?;
        let Answer::Winners(winners) = answer else { panic!("{answer:?}") };
        // The agency has its winners, so a lost final message does no harm.
        self.connection.try_send(codec.final_message());
        Ok((winners, bytes))
    }

    /// Returns the connection.
    pub fn connection(&mut self) -> &mut AgencyConnection {
        &mut self.connection
    }

    /// Returns the connection, on which the agency no longer sends a final message.
    pub fn into_connection(self) -> AgencyConnection {
        self.connection
    }
}
