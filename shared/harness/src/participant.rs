//! An agency of the tests that takes part in a draw, in any dialect that has one: its own bytes on real connections, step by step.

use std::io;

use lottery::Bet;
use lottery::protocol::{AgencyCodec, Answer, ConnectionUse, Dialect, Push, Receipt};

use crate::agency::{Agency, codec, packet_in};

/// An agency and its connection. It uses connections as the originals of its dialect do: one for everything, or one a request.
///
/// What begins with `try_` is for centrals that may die meanwhile: it fails where the connection does.
#[derive(Debug)]
pub struct Participant {
    dialect: &'static Dialect,
    codec: Box<dyn AgencyCodec>,
    port: u16,
    connection: Agency,
    /// Something was sent on the connection.
    used: bool,
}

impl Participant {
    /// Connects agency `number` to a port of this machine on which `dialect` is spoken.
    ///
    /// # Panics
    /// When there is no such dialect, or it has no draw, or nobody listens.
    pub fn connect(port: u16, dialect: &str, number: u16) -> Self {
        Self::try_connect(port, dialect, number).unwrap()
    }

    /// As [`connect`](Self::connect), to a central that may be gone.
    ///
    /// # Errors
    /// What the system says.
    pub fn try_connect(port: u16, dialect: &str, number: u16) -> io::Result<Self> {
        let mut codec = codec(dialect, number);
        let dialect = Dialect::named(dialect).unwrap();
        let connection = Self::open(port, &mut *codec)?;
        Ok(Self { dialect, codec, port, connection, used: false })
    }

    fn open(port: u16, codec: &mut dyn AgencyCodec) -> io::Result<Agency> {
        let mut connection = Agency::try_connect(port)?;
        connection.write(&codec.greeting())?;
        Ok(connection)
    }

    /// Gives the connection up and makes another.
    ///
    /// # Panics
    /// When nobody listens.
    pub fn reconnect(&mut self) {
        self.try_reconnect().unwrap();
    }

    fn try_reconnect(&mut self) -> io::Result<()> {
        self.connection = Self::open(self.port, &mut *self.codec)?;
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
    ///
    /// # Panics
    /// When the bets do not fit a packet, or no whole reply comes.
    pub fn store(&mut self, bets: &[Bet<'_>]) -> Receipt {
        self.try_store(bets).unwrap()
    }

    /// As [`store`](Self::store).
    ///
    /// # Errors
    /// When the connection breaks: nobody knows then whether the batch is stored.
    pub fn try_store(&mut self, bets: &[Bet<'_>]) -> io::Result<Receipt> {
        let packet = packet_in(&mut *self.codec, bets);
        // The receipt may be judged by the batch that was sent, so it is still in the codec.
        for bet in bets {
            self.codec.push(bet).unwrap();
        }
        let sent = self.send(&packet);
        let receipt =
            sent.and_then(|()| self.connection.try_read_reply(|reply| self.codec.receipt(reply)));
        self.codec.clear();
        receipt
    }

    /// Sends all these bets, in as few packets as they fit, each when the one before is stored. How many packets that were.
    ///
    /// # Panics
    /// When one is not stored.
    pub fn store_all(&mut self, bets: &[Bet<'_>]) -> usize {
        let (mut rest, mut packets) = (bets, 0);
        while !rest.is_empty() {
            let fitting =
                rest.iter().take_while(|bet| self.codec.push(bet) == Ok(Push::Added)).count();
            self.codec.clear();
            let (batch, others) = rest.split_at(fitting);
            assert!(
                matches!(self.store(batch), Receipt::Stored { .. }),
                "refused: {:?}",
                batch.first()
            );
            (rest, packets) = (others, packets + 1);
        }
        packets
    }

    /// Says that it has sent all its bets, and asks for its winners without waiting for them.
    ///
    /// # Panics
    /// When the connection breaks.
    pub fn finish(&mut self) {
        self.try_finish().unwrap();
    }

    /// As [`finish`](Self::finish).
    ///
    /// # Errors
    /// When the connection breaks.
    pub fn try_finish(&mut self) -> io::Result<()> {
        self.try_notify()?;
        self.try_ask()
    }

    /// Says that it has sent all its bets and reads the acknowledgement, in a dialect where that is a message of its own.
    ///
    /// # Errors
    /// When the connection breaks.
    pub fn try_notify(&mut self) -> io::Result<()> {
        let Some(notification) = self.codec.notification() else { return Ok(()) };
        self.send(&notification)?;
        let codec = &self.codec;
        self.connection.try_read_reply(|reply| codec.acknowledgement(reply))
    }

    /// Asks for its winners without waiting for them.
    ///
    /// # Panics
    /// When the connection breaks.
    pub fn ask(&mut self) {
        self.try_ask().unwrap();
    }

    fn try_ask(&mut self) -> io::Result<()> {
        self.send(&self.codec.question())
    }

    /// Reads the answer and says goodbye where the dialect does: the number of winners, and the bytes of the reply.
    ///
    /// # Panics
    /// When no whole answer comes, or another one than winners.
    pub fn winners(&mut self) -> (u64, Vec<u8>) {
        self.try_winners().unwrap()
    }

    /// As [`winners`](Self::winners).
    ///
    /// # Errors
    /// When the connection breaks.
    ///
    /// # Panics
    /// When another answer comes than winners.
    pub fn try_winners(&mut self) -> io::Result<(u64, Vec<u8>)> {
        let codec = &self.codec;
        let mut bytes = Vec::new();
        let answer = self.connection.try_read_reply(|reply| {
            bytes = reply.to_vec();
            codec.answer(reply)
        })?;
        let Answer::Winners(winners) = answer else { panic!("{answer:?}") };
        // Whoever has its winners does not care whether the goodbye arrives.
        self.connection.try_send(codec.final_message());
        Ok((winners, bytes))
    }

    /// Its connection.
    pub fn connection(&mut self) -> &mut Agency {
        &mut self.connection
    }

    /// Leaves without a goodbye of its dialect; returns the connection.
    pub fn into_connection(self) -> Agency {
        self.connection
    }
}
