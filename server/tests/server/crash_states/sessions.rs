//! The sessions of a recording: agencies of `keyed` that send batches, send them again, and ask for
//! the number of the next one.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use lottery::BatchKey;
use lottery::protocol::{Advice, AgencyCodec};

use crate::harness::{
    AgencyConnection, BatchRecord, CentralProcess, Random, codec_of_session, eventually,
};

/// Number of the first agency with a session. None of them takes part in the draw.
const FIRST_AGENCY: u16 = 20;
/// Number of sessions.
const SESSIONS: u16 = 3;
/// Bets of the largest batch: less than a packet has room for.
const MAX_BETS: u64 = 60;

/// The sessions, through all runs of a recording. Only the first one asks for its next number, so
/// that an answer with a number belongs to it.
#[derive(Clone, Debug)]
pub struct Sessions(Vec<Arc<Mutex<Session>>>);

/// A session, and what it has sent.
#[derive(Debug)]
pub struct Session {
    agency: u16,
    id: [u8; 16],
    /// Number in the record of each batch that was sent at least once, in the order of the session.
    batches: Vec<usize>,
    /// True if the last of them is acknowledged.
    is_acknowledged: bool,
}

impl Sessions {
    /// Returns new sessions.
    pub fn new() -> Self {
        let session = |index| Session {
            agency: FIRST_AGENCY + index,
            id: BatchKey::new_session(),
            batches: Vec::new(),
            is_acknowledged: true,
        };
        Self((0..SESSIONS).map(|index| Arc::new(Mutex::new(session(index)))).collect())
    }

    /// Returns what each agency does in a run, to be called at the same time as the others.
    pub fn agencies(
        &self,
        port: u16,
        batches: &Arc<BatchRecord>,
        random: &mut Random,
    ) -> Vec<impl FnOnce() + Send + 'static> {
        let agencies = self.0.iter().enumerate().map(|(index, session)| {
            let (session, batches) = (Arc::clone(session), Arc::clone(batches));
            let mut random = random.split();
            move || session.lock().unwrap().run(port, &batches, index == 0, &mut random)
        });
        agencies.collect()
    }

    /// Returns the batches of the first session before one with this number.
    pub fn before(&self, next: u64) -> Vec<usize> {
        let first = self.0[0].lock().unwrap();
        first.batches[..(next as usize).saturating_sub(1).min(first.batches.len())].to_vec()
    }

    /// Sends the batches again that the recovered central does not have, as agencies do that were
    /// not answered. Returns their numbers in the record.
    pub fn send_missing(
        &self,
        central: &CentralProcess<'_>,
        batches: &BatchRecord,
        rows: &[u8],
    ) -> Vec<usize> {
        let (stored, port) = (BatchRecord::numbers_in(rows), central.port_of("keyed"));
        let mut sent = Vec::new();
        for session in &self.0 {
            let session = session.lock().unwrap();
            for (number, sequence) in session.batches.iter().zip(1..) {
                if !stored.contains(number) {
                    let reply = exchange(port, &session.packet(batches, sequence));
                    batches.assert_winners(*number, &*session.codec(), &reply.unwrap());
                    sent.push(*number);
                }
            }
        }
        sent
    }

    /// Checks the sessions of a central that has recovered. `rows` are those of the record, and
    /// `is_closed` is true if the lottery is closed to bets.
    pub fn check(
        &self,
        central: &CentralProcess<'_>,
        batches: &BatchRecord,
        rows: &[u8],
        is_closed: bool,
    ) {
        let stored = BatchRecord::numbers_in(rows);
        let port = central.port_of("keyed");
        for session in &self.0 {
            session.lock().unwrap().check(port, batches, &stored, is_closed);
        }
    }
}

impl Session {
    fn codec(&self) -> Box<dyn AgencyCodec> {
        codec_of_session("keyed", self.agency, self.id)
    }

    /// Returns the bytes of batch `sequence`, which was sent before.
    fn packet(&self, batches: &BatchRecord, sequence: usize) -> Vec<u8> {
        let mut codec = self.codec();
        codec.set_sequence(sequence as u64);
        batches.packet(self.batches[sequence - 1], &mut *codec)
    }

    /// Sends requests until the central does not answer one.
    fn run(&mut self, port: u16, batches: &BatchRecord, asks: bool, random: &mut Random) {
        for _ in 0..random.below(10) {
            let last = self.batches.len();
            let answered = match random.below(4) {
                0 if asks && self.is_acknowledged => self.ask(port),
                1 if asks && self.is_acknowledged && last > 0 => self.leave_a_gap(port, batches),
                2 if last > 0 => self.send(port, batches, random),
                _ if self.is_acknowledged => {
                    let bets = 1 + random.below(MAX_BETS);
                    let winners = 1 + random.below(bets.min(3));
                    let number = batches.begin(self.agency, bets as usize, winners as usize);
                    self.batches.push(number);
                    self.is_acknowledged = false;
                    self.send(port, batches, random)
                }
                _ => self.send(port, batches, random),
            };
            if !answered {
                return;
            }
        }
    }

    /// Sends the last batch, perhaps again. Returns true if it is acknowledged.
    fn send(&mut self, port: u16, batches: &BatchRecord, random: &mut Random) -> bool {
        let sequence = self.batches.len();
        let mut packet = self.packet(batches, sequence);
        if random.below(2) == 0 {
            // The last request of its connection.
            packet[1] |= 0x40;
        }
        let Some(reply) = exchange(port, &packet) else { return false };
        let advice = self.codec().denied(&reply).map(|denied| denied.advice);
        if advice == Some(Advice::Retry) {
            return false;
        }
        assert_eq!(advice, None, "batch {sequence} is refused");
        batches.assert_winners(self.batches[sequence - 1], &*self.codec(), &reply);
        self.is_acknowledged = true;
        true
    }

    /// Asks for the number of the next batch. Returns true if it is answered.
    fn ask(&self, port: u16) -> bool {
        let Some(reply) = exchange(port, &self.codec().session_question().unwrap()) else {
            return false;
        };
        let next = self.batches.len() as u64 + 1;
        if self.codec().denied(&reply).is_some_and(|denied| denied.advice == Advice::Retry) {
            return false;
        }
        assert_eq!(self.codec().next_sequence(&reply), Ok(Some(next)));
        true
    }

    /// Sends a batch after a gap. Returns true if it is answered.
    fn leave_a_gap(&self, port: u16, batches: &BatchRecord) -> bool {
        let next = self.batches.len() as u64 + 1;
        let mut codec = self.codec();
        codec.set_sequence(next + 1);
        let packet = batches.packet(self.batches[0], &mut *codec);
        let Some(reply) = exchange(port, &packet) else { return false };
        let advice = codec.denied(&reply).map(|denied| denied.advice);
        if advice == Some(Advice::Retry) {
            return false;
        }
        assert_eq!(advice, Some(Advice::ResendFrom(next)), "a batch after a gap");
        true
    }

    /// Checks that the stored batches of the session are its first ones, that the central knows how
    /// many there are, and that it stores none of them again.
    fn check(&self, port: u16, batches: &BatchRecord, stored: &BTreeSet<usize>, is_closed: bool) {
        let is_stored: Vec<_> = self.batches.iter().map(|number| stored.contains(number)).collect();
        let count = is_stored.iter().filter(|is_stored| **is_stored).count();
        assert!(is_stored[..count].iter().all(|is_stored| *is_stored), "a gap: {is_stored:?}");
        let (codec, next) = (self.codec(), count as u64 + 1);
        let ask = |packet: &[u8]| {
            let reply = eventually("an answer", || exchange(port, packet), Option::is_some);
            reply.unwrap_or_default()
        };
        let question = codec.session_question().unwrap();
        assert_eq!(codec.next_sequence(&ask(&question)), Ok(Some(next)), "{is_stored:?}");
        if count == 0 {
            return;
        }
        let repeated = ask(&self.packet(batches, count));
        assert_eq!(codec.denied(&repeated), None, "batch {count} of {is_stored:?}");
        batches.assert_winners(self.batches[count - 1], &*codec, &repeated);
        if is_closed {
            return;
        }
        let advice = |sequence, number| {
            let mut codec = self.codec();
            codec.set_sequence(sequence);
            let reply = ask(&batches.packet(number, &mut *codec));
            codec.denied(&reply).map(|denied| denied.advice)
        };
        let any = self.batches[0];
        for sequence in (1..count as u64).take(1).chain([next + 1]) {
            assert_eq!(advice(sequence, any), Some(Advice::ResendFrom(next)), "batch {sequence}");
        }
        if count > 1 {
            let other = self.batches[count - 2];
            assert_eq!(advice(next - 1, other), Some(Advice::Stop), "other bets in batch {count}");
        }
    }
}

/// Sends a request on a connection of its own, and returns the reply. `None` if the central does
/// not answer.
fn exchange(port: u16, packet: &[u8]) -> Option<Vec<u8>> {
    let mut connection = AgencyConnection::try_open(port).ok()?;
    connection.try_send(packet);
    if connection.stream().shutdown(std::net::Shutdown::Write).is_err() {
        return None;
    }
    Some(connection.read_until_gone()).filter(|reply| !reply.is_empty())
}
