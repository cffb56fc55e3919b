//! An agency of the tests that takes part in a draw, in any dialect that has one: its own bytes on real connections, step by step.

use lottery::Bet;
use lottery::protocol::{AgencyCodec, Answer, ConnectionUse, Dialect, Receipt};

use crate::agency::{Agency, codec, packet_in};

/// An agency and its connection. It uses connections as the originals of its dialect do: one for everything, or one a request.
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
        let mut codec = codec(dialect, number);
        let dialect = Dialect::named(dialect).unwrap();
        let connection = Self::open(port, &mut *codec);
        Self { dialect, codec, port, connection, used: false }
    }

    fn open(port: u16, codec: &mut dyn AgencyCodec) -> Agency {
        let mut connection = Agency::connect(port);
        connection.send(&codec.greeting());
        connection
    }

    /// Gives the connection up and makes another.
    ///
    /// # Panics
    /// When nobody listens.
    pub fn reconnect(&mut self) {
        self.connection = Self::open(self.port, &mut *self.codec);
        self.used = false;
    }

    fn send(&mut self, bytes: &[u8]) {
        if self.used && self.dialect.connections[0] == ConnectionUse::PerRequest {
            self.reconnect();
        }
        self.used = true;
        self.connection.send(bytes);
    }

    /// Sends a batch and reads the reply.
    ///
    /// # Panics
    /// When the bets do not fit a packet, or no whole reply comes.
    pub fn store(&mut self, bets: &[Bet<'_>]) -> Receipt {
        let packet = packet_in(&mut *self.codec, bets);
        // The receipt may be judged by the batch that was sent, so it is still in the codec.
        for bet in bets {
            self.codec.push(bet).unwrap();
        }
        self.send(&packet);
        let codec = &self.codec;
        let receipt = self.connection.read_reply(|reply| codec.receipt(reply));
        self.codec.clear();
        receipt
    }

    /// Says that it has sent all its bets, and asks for its winners without waiting for them.
    ///
    /// # Panics
    /// When the connection breaks.
    pub fn finish(&mut self) {
        if let Some(notification) = self.codec.notification() {
            self.send(&notification);
            let codec = &self.codec;
            self.connection.read_reply(|reply| codec.acknowledgement(reply));
        }
        self.ask();
    }

    /// Asks for its winners without waiting for them.
    ///
    /// # Panics
    /// When the connection breaks.
    pub fn ask(&mut self) {
        let question = self.codec.question();
        self.send(&question);
    }

    /// Reads the answer, whatever it is.
    ///
    /// # Panics
    /// When no whole answer comes.
    pub fn answer(&mut self) -> Answer {
        let codec = &self.codec;
        self.connection.read_reply(|reply| codec.answer(reply))
    }

    /// Reads the answer and says goodbye where the dialect does: the number of winners, and the bytes of the reply.
    ///
    /// # Panics
    /// When no whole answer comes, or another one than winners.
    pub fn winners(&mut self) -> (u64, Vec<u8>) {
        let codec = &self.codec;
        let mut bytes = Vec::new();
        let answer = self.connection.read_reply(|reply| {
            bytes = reply.to_vec();
            codec.answer(reply)
        });
        let Answer::Winners(winners) = answer else { panic!("{answer:?}") };
        self.connection.send(codec.farewell());
        (winners, bytes)
    }

    /// Its connection.
    pub fn connection(&mut self) -> &mut Agency {
        &mut self.connection
    }
}
