//! An agency of the tests: one connection to a central, byte by byte under the test's control.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use lottery::protocol::{AgencyCodec, AgencyOptions, Dialect, ProtocolError, Push, typed};
use lottery::{Bet, Birthdate, Results};
use socket2::SockRef;

/// How long an answer may take before the test fails instead of hanging.
const PATIENCE: Duration = Duration::from_secs(20);

/// A connection to a central.
#[derive(Debug)]
pub struct Agency {
    stream: TcpStream,
}

impl Agency {
    /// Connects to a port of this machine.
    ///
    /// # Panics
    /// When it cannot.
    pub fn connect(port: u16) -> Self {
        Self::try_connect(port).unwrap()
    }

    /// As [`connect`](Self::connect), to a central that may be gone.
    ///
    /// # Errors
    /// What the system says.
    pub fn try_connect(port: u16) -> io::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream })
    }

    /// Sends bytes.
    ///
    /// # Panics
    /// When the connection is broken.
    pub fn send(&mut self, bytes: &[u8]) {
        self.write(bytes).unwrap();
    }

    /// Sends bytes; whether the connection still took them.
    pub fn try_send(&mut self, bytes: &[u8]) -> bool {
        self.write(bytes).is_ok()
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Everything the central sends until it closes.
    ///
    /// # Panics
    /// When the central resets the connection or stays silent too long.
    pub fn read_to_end(&mut self) -> Vec<u8> {
        let mut reply = Vec::new();
        self.stream.read_to_end(&mut reply).unwrap();
        reply
    }

    /// Everything the central sends until the connection ends in any way, also by a reset.
    ///
    /// # Panics
    /// When the central stays silent too long.
    pub fn read_until_gone(&mut self) -> Vec<u8> {
        let mut reply = Vec::new();
        match self.stream.read_to_end(&mut reply) {
            Err(error) if is_silence(&error) => panic!("the central is silent"),
            _ => reply,
        }
    }

    /// The next bytes the central sends, as many as a reply has by `whole`, which reads it.
    ///
    /// # Panics
    /// When the connection ends before, the central stays silent too long, or the bytes are no such reply.
    pub fn read_reply<T>(
        &mut self,
        whole: impl FnMut(&[u8]) -> Result<Option<T>, ProtocolError>,
    ) -> T {
        self.try_read_reply(whole).unwrap()
    }

    /// As [`read_reply`](Self::read_reply), from a central that may die meanwhile.
    ///
    /// # Errors
    /// When the connection ends before the reply is whole; with what had come.
    ///
    /// # Panics
    /// When the central stays silent too long, or the bytes are no such reply.
    pub fn try_read_reply<T>(
        &mut self,
        mut whole: impl FnMut(&[u8]) -> Result<Option<T>, ProtocolError>,
    ) -> io::Result<T> {
        let mut reply = Vec::new();
        loop {
            let mut byte = [0];
            match self.stream.read_exact(&mut byte) {
                Err(error) if is_silence(&error) => panic!("the central is silent after {reply:?}"),
                Err(error) => {
                    return Err(io::Error::new(error.kind(), format!("{error} after {reply:?}")));
                }
                Ok(()) => reply.push(byte[0]),
            }
            if let Some(value) =
                whole(&reply).unwrap_or_else(|error| panic!("{error} in {reply:?}"))
            {
                return Ok(value);
            }
        }
    }

    /// Reads so many bytes.
    ///
    /// # Panics
    /// When the connection ends before, or the central stays silent too long.
    pub fn read_bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.stream.read_exact(&mut bytes).unwrap();
        bytes
    }

    /// Whether the connection stands and the central has sent nothing that was not read.
    ///
    /// # Panics
    /// When the system refuses.
    pub fn hears_nothing(&self) -> bool {
        self.stream.set_nonblocking(true).unwrap();
        let heard = self.stream.peek(&mut [0]);
        self.stream.set_nonblocking(false).unwrap();
        heard.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    }

    /// Asks for the results.
    ///
    /// # Panics
    /// When no whole answer comes.
    pub fn results(mut self) -> Results {
        self.send(&typed::QUERY);
        let reply = self.read_to_end();
        typed::decode_results(&reply)
            .unwrap()
            .unwrap_or_else(|| panic!("no whole answer: {reply:?}"))
    }

    /// Says that nothing more will be sent; replies can still be read.
    ///
    /// # Panics
    /// When the connection is broken.
    pub fn end_sending(&self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    /// Ends the connection with a reset instead of a goodbye.
    ///
    /// # Panics
    /// When the system refuses.
    pub fn reset(self) {
        SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).unwrap();
    }

    /// Its own port: what the central logs as `puerto`.
    ///
    /// # Panics
    /// When the connection is broken.
    pub fn port(&self) -> u16 {
        self.stream.local_addr().unwrap().port()
    }

    /// The connection itself.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }
}

/// Whether reading failed because nothing came for a long time.
fn is_silence(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

/// A bet with this document, which wins or does not.
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

/// A batch of `bets` bets of which the first `winners` win. Documents start with `mark`, so that they can be found again.
///
/// # Panics
/// When they do not fit a packet.
pub fn packet_of(mark: &str, bets: usize, winners: usize) -> Vec<u8> {
    let documents: Vec<_> = (0..bets).map(|index| format!("{mark}-{index}")).collect();
    let bets: Vec<_> = documents
        .iter()
        .enumerate()
        .map(|(index, document)| bet(document, index < winners))
        .collect();
    packet_of_bets(&bets)
}

/// A batch of these bets.
///
/// # Panics
/// When they do not fit a packet.
pub fn packet_of_bets(bets: &[Bet<'_>]) -> Vec<u8> {
    packet_in(&mut *codec("typed", 1), bets)
}

/// The agency's side of a dialect, for an agency of this number.
///
/// # Panics
/// When there is no such dialect, or it carries no bets.
pub fn codec(dialect: &str, agency: u16) -> Box<dyn AgencyCodec> {
    let options = AgencyOptions { agency, max_bets: u16::MAX, with_count: true };
    (Dialect::named(dialect).unwrap().agency.unwrap())(&options)
}

/// A batch of these bets in the dialect of a codec, which is left with an empty batch.
///
/// # Panics
/// When they do not fit a packet.
pub fn packet_in(codec: &mut dyn AgencyCodec, bets: &[Bet<'_>]) -> Vec<u8> {
    for bet in bets {
        assert_eq!(codec.push(bet), Ok(Push::Added), "the batch does not fit a packet");
    }
    let packet = codec.packet().to_vec();
    codec.clear();
    packet
}

/// A batch of these records as they are, valid or not.
///
/// # Panics
/// When there are more of them, or longer ones, than the wire can announce.
pub fn packet_of_records<R: AsRef<[u8]>>(records: &[R]) -> Vec<u8> {
    let mut packet = vec![0];
    packet.extend(u16::try_from(records.len()).unwrap().to_be_bytes());
    for record in records.iter().map(AsRef::as_ref) {
        packet.extend(u16::try_from(record.len()).unwrap().to_be_bytes());
        packet.extend(record);
    }
    packet
}

/// A batch far larger than a packet of an agency of ours: `bets` short bets with distinct documents, the first `winners` win.
///
/// # Panics
/// When there are more than the dialect can count.
pub fn large_packet(mark: &str, bets: usize, winners: usize) -> Vec<u8> {
    let number = |bet| if bet < winners { 7574 } else { 1033 };
    let records: Vec<_> =
        (0..bets).map(|bet| format!(";;{mark}-{bet};1999-03-17;{}", number(bet))).collect();
    packet_of_records(&records)
}
